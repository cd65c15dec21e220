package messages

// Reloaded is what a reload of the configuration changed.
type Reloaded struct {
	Config  string   `json:"config"`            // the file, "" for the built-in defaults
	Added   []string `json:"added,omitempty"`   // feeds
	Removed []string `json:"removed,omitempty"` // feeds; their streams stay
	Changed []string `json:"changed,omitempty"` // feeds
	// Keys are the keys that are in force with their new values.
	Keys []string `json:"keys,omitempty"`
	// Restart are the keys whose new values need a restart. The former values stay in force.
	Restart []string `json:"restart,omitempty"`
}

// IsNothing says whether the configuration was as before.
func (r *Reloaded) IsNothing() bool {
	return len(r.Added)+len(r.Removed)+len(r.Changed)+len(r.Keys)+len(r.Restart) == 0
}

// RejectedError says that a configuration was not taken over. The former one stays in force.
type RejectedError struct{ Err error }

func (e *RejectedError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong with the configuration.
func (e *RejectedError) Unwrap() error { return e.Err }
