package messages

// Filter says which events a feed wants from its upstream. An event must satisfy each list that is
// not empty.
type Filter struct {
	Collections []string `json:"collections,omitempty"`
	DIDs        []string `json:"dids,omitempty"`
	Kinds       []string `json:"kinds,omitempty"`
}

// FilterLog is what a feed wants, and what it wanted at the time of events that may still be read.
// A filter applies from the moment it is set. An older event is stored only if the filter of its
// time wanted it as well.
type FilterLog struct {
	Filter Filter         `json:"filter"`
	Former []FilterBefore `json:"former,omitempty"` // oldest first
}

// FilterBefore is a filter that applied until the moment UntilUS of its host's clock, Unix µs.
// While UntilUS is 0 it applies until the next connection.
type FilterBefore struct {
	Filter  Filter `json:"filter"`
	UntilUS int64  `json:"until_us,omitempty"`
}

// SaveFilters asks the cursor to persist the feed's filters.
type SaveFilters struct{ Log FilterLog }
