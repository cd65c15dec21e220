// Package beside runs what goes on beside something else, and keeps a panic there from ending the process.
//
// The model. A panic that nobody recovers ends every feed and every reader. So every goroutine of the daemon is started through [Do]: by the tasks of an
// actor, whose supervisor answers the panic, or by a [Crew] for everything that is no actor's. A crew tells of the panic in one event and ends no more
// than the goroutine's own work: a connection, or one turn of a loop that is begun anew after a while.
//
// The goroutines of HTTP requests are net/http's. The server's outermost handler recovers them.
//
//	panic.go  Do, and what it makes of a panic
//	fault.go  the hook by which tests make everything panic once
//	crew.go   goroutines that are no actor's
package beside
