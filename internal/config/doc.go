// Package config turns a TOML file into a validated, typed [Config]. Every default stands here and nowhere else.
//
// The vocabulary is one table (keys.go): each key's name, its default, its documentation, how it is read and how it is
// written back stand together, once. Loading walks the document's syntax tree instead of decoding into a struct, because a
// struct decoder stops at the first wrong type and knows nothing of lines: here every entry of the file is looked up in the table,
// read by its key's [kind], and whatever is wrong is collected with its position. What is reported is everything that
// is wrong, at once, sorted by line (see [Errors]); syntax errors are stepped over, so that they do not hide the others.
//
// The documented default configuration at the top of the repository is generated from the same table ([Config.WriteReference]).
//
//	config.go   the typed configuration
//	secret.go   Secret, a string that never shows (I10)
//	errors.go   Error, Errors
//	shown.go    what an error may repeat of a value (I10)
//	keys.go     the table of keys: names, defaults, documentation
//	keys_valkey.go, valkey.go  the same for the store that daemons share
//	kinds.go    how the values of the table are read and written: choices, counts, lists
//	units.go    durations and sizes
//	strings.go  paths, secrets, addresses: values that come from the environment or need a look at the machine
//	origins.go  origins of web pages
//	names.go    what a feed, a collection, a DID, an endpoint may be called
//	document.go a TOML document as a flat list of entries with lines
//	load.go     Load, Find, Default: entries in, Config or Errors out
//	suggest.go  "did you mean"
//	write.go    the effective configuration and the reference as TOML
package config
