// Package valkeysim is a model of a Valkey server in memory, for tests. It speaks RESP3 and has the
// commands that package valkey uses, with faults that a real server cannot be told to have, at an
// exact time. All its waiting is on channels and timers, so it runs in a bubble of testing/synctest
// as well.
//
// # The model
//
// A [Server] has keys and serves connections. One command or script runs at a time. Scripts are Lua,
// run by gopher-lua, with the part of the redis module that package valkey uses. A script that fails
// halfway has done what it did before, as in the real server.
//
// The server is compared with the real one by the contract suite of package persistence, which
// package valkey passes on both.
//
// # What is not simulated
//
// Clusters, sentinels, replicas as servers of their own, several databases, eviction, and every
// command that package valkey does not send. A failover is a server that goes back to an older
// [Image] of its data.
//
//	server.go   Server: its connections, and the order of commands
//	resp.go     requests and replies on the wire
//	command.go  the commands, but for those of streams
//	stream.go   streams
//	script.go   scripts
//	fault.go    faults; images of the data
package valkeysim
