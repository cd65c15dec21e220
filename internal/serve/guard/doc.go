// Package guard decides who may ask the server for something.
//
// The model: a request passes three checks. [Guard.CheckBrowser] comes first, for every request: it
// refuses what a web page can make its visitor's browser send to a daemon on the same machine.
// [Guard.CheckToken] asks for the bearer token, on the routes that are not public. A handler whose
// effect its method does not show makes the third: [Guard.CheckOrigin] before a websocket, and
// [Guard.CheckCrossSite] before a GET that changes something. For pages of other origins that are
// allowed, [Guard.CORS] writes the headers without which a browser hides the answer.
//
//	guard.go   Guard, and the requests of browsers
//	hosts.go   the names under which a loopback listener answers
//	token.go   the bearer tokens, and the places where one may be
//	attempts.go clients that try tokens
//	origins.go web pages of other origins: which may read, which may change something (CORS)
package guard
