package config

// Range is a key whose values have a least and a most.
type Range struct {
	Path, Least, Most, Below, Above string // as TOML source
	List                            bool   // of each value of an array
}

// Ranges returns the keys whose values have a least and a most.
func Ranges() (all []Range) {
	for _, k := range keys() {
		if e := k.ends; e != nil {
			all = append(all, Range{k.path, e.least, e.most, e.below, e.above, e.list})
		}
	}
	return all
}
