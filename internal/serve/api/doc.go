// Package api is what all routes of the HTTP API have in common: the form of requests and of
// answers.
//
// The model: a handler reads all parameters and the body of its request, asks once whether they are
// right, does its work, and writes one answer or returns an error. One place turns any error into a
// response ([ErrorOf]): an error of the store or the actors has a status and a name of its own, and
// everything else is a fault of the daemon, of which the client sees only an ID and the log the
// rest. Every refusal names the parameter, the given value and the accepted ones. What a client
// sends is bounded before it is held (I5).
//
//	route.go   Handler and Route, of which the table of routes is made
//	params.go  query parameters: each bound and each refusal
//	turns.go   few long queries at a time
//	filter.go  the parameters and the rules of a reader's filter
//	body.go    JSON bodies
//	errors.go  Error, the names of all errors, and ErrorOf
//	answer.go  writing JSON and errors
package api
