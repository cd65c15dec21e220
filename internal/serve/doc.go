// Package serve is the HTTP side of the daemon: it reads and tails streams, shows and controls
// feeds, and reports health and metrics.
//
// The model: a request touches two things only. It reads streams from the [persistence.Store]
// directly; reads and tails never delay an append (I8). It asks about feeds through [Control], and
// the actors answer with messages. This package holds no state of a stream: a tail waits in the
// store for as long as its block budget, and only the bounds around it are here.
//
// The server is built from one table of routes ([Server.Routes]). The packages beneath this one
// bring their own rows:
//
//	mirror   a Jetstream server in front of the streams
//	consumer named consumers
//	durable  the read side of the Durable Streams protocol
//
// and stand on what they have in common with the handlers here:
//
//	peer   which client a request comes from
//	conns  the connections: how many, and for how long
//	budget the memory that all readers share
//	tail  slots, followers and pages of requests that follow a stream, and how they end together
//	guard token, Host, and what browsers say about a request
//	encode compressed answers
//	api   parameters, bodies, answers and errors
//
// Every request passes these layers, in this order (server.go): a panic barrier with the access
// metrics; a refusal while the server shuts down; the guard, with the CORS answers; the bearer
// token; the route, by path and then by method. Handlers return an error, and one place turns
// errors into HTTP.
//
// Everything is bounded (I5): request headers and bodies, the time that a client may take to send
// and to read, the number of tails at one time, the entries and bytes of one response.
//
//	server.go      Options, Server, its life, the layers that every request passes
//	nethttp.go     what net/http logs, as events
//	listen.go      listeners, and the servers behind them
//	routes.go      the table of routes, and the way from a request to its handler
//	known.go       what a 404 says that there is
//	feeds.go       feeds: their status, their history, commands to them
//	streams.go     reading and tailing streams
//	sse.go         a tail as an event stream
//	close.go       closing, trimming and deleting a stream
//	cursor.go      the stored position of a feed
//	diagnose.go    the log's level and newest lines, profiles
//	reload.go      reading the configuration again
//	maintenance.go verifying the store's files, and naming them for a backup
//	health.go      health, readiness
//	metrics.go     metrics: what is measured for a scrape
//	statuspage.go  the status page; its files are in page/, each with its job in its first line
package serve
