package valkey

// streamKeys are the keys of a stream. They share one hash tag and so lie in one node of a cluster:
// scripts and transactions can use them together.
type streamKeys struct {
	stream string // the entries: the field "json" and the configured fields
	meta   string // hash: see scripts.go
	// blocks is a stream that records which entries were appended together, by their last ID:
	// f(irst), n (entries), b(ytes), p (fingerprints), e (entries ever appended, including these).
	blocks    string
	closed    string // stream with one entry when the stream is closed: at, reason
	lease     string // ID of the node that owns the stream; expires with its lease
	consumers string // hash: name to ConsumerState
	gaps      string // hash: ID to version, space, GapRow
	// shown is a stream whose one entry has the ID of the newest durable entry, and the number of
	// entries ever appended up to it (e). It is there only while the owner waits for durability.
	shown string
	probe string // never exists: see scriptProbe
}

func newStreamKeys(prefix, name string) streamKeys {
	k := prefix + "{" + name + "}"
	return streamKeys{stream: k, meta: k + ":meta", blocks: k + ":blocks", closed: k + ":closed", lease: k + ":lease", consumers: k + ":consumers", gaps: k + ":gaps", shown: k + ":shown", probe: k + ":probe"}
}

// nodeKeys are the keys of the list of daemons and of the time until which each stays on it. No
// stream can have this name.
func nodeKeys(prefix string) []string {
	return []string{prefix + "{:nodes}", prefix + "{:nodes}:until"}
}

// streamsKey is the key of the set of stream names.
func (v *Store) streamsKey() string { return v.opt.Prefix + "streams" }
