// Package accounts reads from the accounts' own servers what a feed has missed.
//
// # The model
//
// Every account keeps its records in a repository on a server of its choice. What the repository
// holds now is all that its server knows: the versions that were overtaken are gone, and what was
// deleted is only missing. So there are two questions. Has the account changed at all since the
// revision that a feed holds? Client.Missed asks for the latest commit; for most accounts of a feed
// that was away for an hour that is all. And what is there now? Client.List reads one collection,
// the newest first, and can stop at a time. Client.Repository reads everything, signed, which is
// less work for many collections. Tally compares what was seen with what a feed believes alive: the
// rest was deleted, at a time that nobody knows.
//
// A Record has no revision of its own: that of a repository is the one of the whole download, and a
// list has none. What tells records apart is account, collection, key and CID.
//
// # What is trusted
//
// Nothing that a server sends. The CID of every record is computed from its content, and one that
// does not fit is told to Options.Skipped and left out. Of a repository every block is compared
// with its CID, the tree's shape is checked, and the commit's signature is verified with the key of
// the account's document. Pages, records, bytes, blocks and times are bounded; a server that lists
// without an end, or the same page again, is left.
//
// # How it ends
//
// That an account is deactivated, taken down, suspended, given up or not there is no error: State
// says it. An account may also have moved. A server that does not know it, or does not answer, is a
// reason to fetch the document anew, and the server that it then names is asked once.
//
// # Files
//
//	network.go  Network: a Client with all that it needs
//	client.go   Client, and the way to an account's server
//	state.go    State: how an account stands
//	head.go     small questions: latest commit, status, collections, what was missed
//	list.go     List: a collection page by page
//	download.go Repository: a whole repository
//	blocks.go   its blocks in a temporary file
//	fetch.go    Record of one path
//	record.go   Record: from JSON to the normal form
//	tally.go    Tally and Gone: deletes found by comparing
//	holders.go  Holders: who has a collection, from a relay
//	tid.go      times in keys and revisions
//	errors.go   ErrAnswer and the others
//
// Below are guard (which addresses are called), pace (how fast), xrpc (requests), identity (from a
// DID to a server) and signing (keys).
package accounts
