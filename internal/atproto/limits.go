package atproto

// How much a subscriber may ask for. Servers refuse more.
const (
	MaxCollections = 100    // wanted collections, and prefixes of them
	MaxDIDs        = 10_000 // wanted DIDs
	MaxKinds       = 4      // wanted kinds, in v2
	// MaxSubscriberMessage is the greatest size of a message of a v1 subscriber, in bytes.
	MaxSubscriberMessage = 10_000_000
)
