package beside

// Fault is a hook for tests. It is called at a named point of every goroutine and of every actor's
// turn, and may panic there. A nil Fault, as in production, does nothing.
type Fault func(point string)

// At calls the hook for a point where a fault may be injected.
func (f Fault) At(point string) {
	if f != nil {
		f(point)
	}
}

// Of returns the hook with name before every point, as in "bluesky/writer.commit".
func (f Fault) Of(name string) Fault {
	if f == nil {
		return nil
	}
	return func(point string) { f(name + "/" + point) }
}
