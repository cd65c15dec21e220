// Package atsim simulates what is around a Jetstream server: accounts' servers with signed
// repositories, the directory of did:plc, the hosts of did:web and of handles, a relay's index, and
// sessions with a timeline. The demo and the tests of repair run on it.
//
// # The model
//
// A Sim is several HTTP servers on loopback, each with an address of its own: the directory, the
// relay, the web, and any number of hosts of accounts. What they hold comes from events: Apply
// takes them one by one, as the simulated Jetstream sent them (ApplyLine) or as Generate made them
// of a seed, and keeps of each account what a real server keeps: its records as they are now, its
// latest revision and how it stands. So what a repair brings back can be compared with what was
// sent. An account begins with its first event. A record's CID is computed from its content,
// whatever the event says.
//
// A repository is built when it is asked for, as a CAR file with the one Merkle search tree of its
// records and a signed commit. Some accounts sign with secp256k1, the others with P-256.
//
// Faults are injected by name, for once or for always, for every account and method or for one.
// Requests counts what was asked.
//
// # The files
//
//	sim.go     Sim: its servers, their beginning and end
//	event.go   Event, Apply
//	generate.go events of a seed
//	account.go an account and what can be done to it
//	key.go     what it signs with
//	tree.go    its repository as blocks
//	serve.go   requests to an account's server, and the faults of all of them
//	records.go the methods about records
//	export.go  getRepo, and how it goes wrong
//	session.go logging in and refreshing
//	feed.go    follows and the timeline
//	web.go     the directory, did:web, handles and DNS
//	relay.go   who has a collection
//	fault.go   the names of the faults
package atsim
