# The configuration of the packages is config.toml, with data_dir where the unit has it: the commands that a person runs look there as well.
s|^#data_dir = |data_dir = |
