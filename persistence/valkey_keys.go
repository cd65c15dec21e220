package persistence

// valkeyKeys are a stream's keys. They share one hash tag, and so one node of a cluster: scripts and transactions may use them together.
type valkeyKeys struct {
	stream    string // the entries: field "json", and those that were asked for
	meta      string // hash: see valkey_scripts.go
	blocks    string // stream: what was appended together, by its last ID: f(irst), n (entries), b(ytes), p(rints), e (entries ever appended, with it)
	closed    string // stream with one entry once the stream is closed: at, reason
	lease     string // ID of the node that owns the stream, for as long as its lease lasts
	consumers string // hash: name to ConsumerState
	probe     string // never there: see scriptProbe
}

func newValkeyKeys(prefix, name string) valkeyKeys {
	k := prefix + "{" + name + "}"
	return valkeyKeys{stream: k, meta: k + ":meta", blocks: k + ":blocks", closed: k + ":closed", lease: k + ":lease", consumers: k + ":consumers", probe: k + ":probe"}
}

// nodeKeys are the list of the daemons and how long each stays on it. No stream can have their name.
func nodeKeys(prefix string) []string {
	return []string{prefix + "{:nodes}", prefix + "{:nodes}:until"}
}

// streamsKey is the set of the streams' names.
func (v *Valkey) streamsKey() string { return v.opt.Prefix + "streams" }
