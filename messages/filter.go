package messages

// Filter says what a feed wants of its upstream: each list that is not empty must hold.
type Filter struct {
	Collections []string `json:"collections,omitempty"`
	DIDs        []string `json:"dids,omitempty"`
	Kinds       []string `json:"kinds,omitempty"`
}

// FilterLog is what a feed wants, and what it wanted while something may still be read from that time: a filter holds from the moment
// it is set, and of what came before only that is stored which the filter of that time wanted as well.
type FilterLog struct {
	Filter Filter         `json:"filter"`
	Former []FilterBefore `json:"former,omitempty"` // oldest first
}

// FilterBefore is a filter that held until a moment of its host's clock, Unix µs; until the next connection while that is 0.
type FilterBefore struct {
	Filter  Filter `json:"filter"`
	UntilUS int64  `json:"until_us,omitempty"`
}

// SaveFilters asks the cursor to persist the feed's filters.
type SaveFilters struct{ Log FilterLog }
