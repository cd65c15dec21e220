// Package xrpc calls hosts of the network by HTTP: bounded in bytes and in time, at the host's
// pace, and with errors that a caller can tell apart.
//
// Whatever a host answers is input. A body has a limit, an error message is cut and made one line.
// A request that carries a secret is sent once and to that host alone: no redirect is followed, and
// nothing of the answer but its status and a name that the protocol knows comes into an error, so
// that a host cannot have a secret echoed into a log (I10).
//
// A read is tried again when its host answers 429 or fails, at the pace that the package pace
// keeps.
//
//	client.go  Client: requests, attempts, limits
//	cursors.go Cursors: pages that come again
//	errors.go  what a host answers in the place of what was asked
package xrpc
