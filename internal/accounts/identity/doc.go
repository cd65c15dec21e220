// Package identity finds an account's server and key.
//
// A DID names an account for good. Its document, which says where the account is now, is fetched:
// of did:plc from a directory, of did:web from the host that the DID names; there are no other
// methods. A handle leads to a DID by DNS or by a file on its own host, and counts only when the
// document of that DID names the handle back.
//
// Documents are kept for a day, a bounded number of them. Accounts move between servers, so a
// caller that does not find an account where its document says asks with Refresh, and an identity
// event of the network is a reason to Drop the document. All that a document says is its owner's
// claim: which hosts are called at all is the business of package guard.
//
//	directory.go Directory: lookups and their cache
//	document.go  what a document says
//	handle.go    from a handle to a DID
//	did.go       the DIDs that can be looked up
//	errors.go    why there is no identity
package identity
