package beside

// Fault is a test's hook. It is called at a named point of every goroutine and of every actor's turn, and may panic there. nil, as in production, does nothing.
type Fault func(point string)

// At is called where a fault may be injected.
func (f Fault) At(point string) {
	if f != nil {
		f(point)
	}
}

// Of is the hook with a name before every point: "bluesky/writer.commit".
func (f Fault) Of(name string) Fault {
	if f == nil {
		return nil
	}
	return func(point string) { f(name + "/" + point) }
}
