// Package beside runs the goroutines of the daemon, and keeps a panic in one of them from ending
// the process.
//
// A panic that nobody recovers ends every feed and every reader. So every goroutine of the daemon
// starts through [Do]. The tasks of an actor call it, and the actor's supervisor handles the panic.
// A [Crew] calls it for every goroutine that belongs to no actor. A crew reports a panic in one
// event, and the panic ends only that goroutine's work: a connection, or one turn of a loop, which
// starts again after a wait.
//
// The goroutines of HTTP requests belong to net/http. The server's outermost handler recovers their
// panics.
//
//	panic.go  Do, and the Panic that it reports
//	fault.go  the hook by which tests cause a panic at every point
//	crew.go   goroutines that belong to no actor
package beside
