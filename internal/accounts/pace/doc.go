// Package pace keeps requests polite: how many go to a host at once, how fast, and when again.
//
// What a stranger's host bears is not known. So each begins at two requests a second, two of them
// at a time, grows slowly with each answer, and halves with each 429 and each failure of the
// server. A host that says when to come again (Retry-After, RateLimit-Reset) is not asked before,
// however long that is: such a wait is told when it begins, and Waiting lists those there are.
//
//	hosts.go  Hosts: turns at hosts
//	header.go when a response says to come again
//	watch.go  Waits: those of one task
package pace
