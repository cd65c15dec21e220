// Package follow keeps a feed's dids equal to the accounts that one account follows.
//
// The model: a Follower belongs to one feed and runs beside the actors, because its work is requests
// to other servers. It reads the account's follows, a list of records at the account's own server,
// which needs no session. It keeps what it read in a file, so a restart needs no network, and passes
// a list that has changed to the feed as another filter. A list that did not come to its end changes
// nothing: the follows of before stay.
//
// A feed whose follows are not known yet wants nobody. An empty list of dids would want everybody.
//
//	follower.go Follower
//	file.go     the follows that are kept
package follow
