// Package repo reads an account's repository as its server exports it
// (com.atproto.sync.getRepo): a CAR file of blocks, in it a signed commit and the Merkle search tree
// that the commit names, in that the records.
//
// # What is checked
//
// The account's server is not trusted. Reader compares each block with its CID, so that no other
// block can stand in for one, and a tree of such blocks cannot have a cycle. Walk checks the shape of
// the tree: keys rise strictly over the whole tree and are "collection/rkey", each stands in the
// layer that its hash gives, and a subtree lies one layer below its node. What passes is the one
// tree that its records can have, so a server can neither hide a record from one reader and show it
// to another under the same root, nor make the walk take more than the blocks that it has sent.
// Every length is compared with a bound before memory is taken for it.
//
// # Files
//
//	car.go     Reader: blocks one after the other
//	commit.go  Commit: who signs what
//	tree.go    Walk: keys and CIDs of the records, in order
package repo
