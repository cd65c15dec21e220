// Package serve is the HTTP side of the daemon: reading and tailing streams, the feeds' status and control, health and metrics.
//
// The model: a request touches two things only. Streams are read from the [persistence.Store] directly, whose reads and tails never
// delay an append (I8); feeds are asked through [Control], which is answered by the actors with messages. Nothing here holds state of
// a stream: a tail waits in the store, for as long as its block budget, and this package owns only the bounds around it.
//
// Whatever follows a stream – a tail, a stream of events, a websocket – does it in the same two steps. [Server.admit] takes a slot for the request, or
// refuses it; [Server.follow] gives a follower of the stream after a cursor, through a filter (params.filter, [jetstream.NewMatcher]), whose next waits for the next page. A page
// tells where to go on, how far behind the tip that is, whether the stream has ended and whether the server is stopping; a cursor that retention has overtaken
// is an error, which [Server.fail] answers with 410 and the oldest cursor.
//
// Named consumers are positions that the store keeps (persistence.ConsumerStore). All that is decided about one is in consumer_state.go, without I/O: a request looks
// at the state, reads what it asks for, and then changes the state in one atomic step, provided that it is still as it was seen. That is what makes any number of workers,
// at any number of daemons, safe; here in memory are only those who wait for their turn, so that an ack wakes them.
//
// What every request passes, in order (server.go): a panic barrier with the access metrics; the refusal while shutting down; the
// guards against web pages that talk to a loopback daemon behind its user's back (guard.go), and the answers to those that may (origins.go); the bearer token; the route, by path
// and then by method. Handlers return an error, and one place turns errors into HTTP (errors.go).
//
// Everything is bounded (I5): request headers and bodies, the time a client may take to send and to read, the tails at one time, the
// frames and bytes of one response. Events are copied from the store's block to the socket as the bytes they are: they are never decoded
// nor encoded again (frames.go).
//
// A stop releases every waiting tail at once with what there is, open, so that its client asks again, elsewhere or later.
//
// A Jetstream client's websocket ([Server.subscribe]) is answered by the rules of package subscribe, begins where its cursor is found in the stream (seek.go), and gets each
// entry that it wants as the bytes that are stored, or of v2 in their envelope (jetstream.Entry), under the number that the entry has in the stream: the upstream's numbers fall
// when the feed changes its host. Many frames go out in one write (corked.go); a subscriber that does not
// take one in time is cut, and delays nobody: what it has not read is in the store. The connections are no longer the HTTP server's, so Shutdown says goodbye to
// them itself.
//
//	server.go  Options, Server, its life, what every request passes
//	routes.go  the table of routes and the small handlers
//	streams.go reading and tailing streams
//	close.go   ending a stream
//	care.go    verifying the store's files, and naming them for a backup
//	history.go what a feed remembers
//	page.go    the status page; its files are in page/, each with its job in its first line
//	follow.go  follower: a stream page after page, filtered
//	admit.go   how many may wait at one time
//	frames.go  the response of a read or a tail
//	sse.go     a tail as a stream of events
//	consumers.go         named consumers: making, describing, moving, removing them
//	consumer_state.go    their state machine
//	consumer_next.go     handing out a batch
//	consumer_lease.go    ack, nack, extend
//	consumer_lag.go      their status
//	consumer_metrics.go  their metrics
//	turns.go             those who wait for a consumer's batch
//	body.go    JSON bodies
//	params.go  query parameters, filters among them: each bound and each refusal
//	subscribe.go     websockets: the request, and what is refused; v2's dictionary
//	seek.go          where a cursor points to
//	subscription.go  the life of one connection
//	corked.go, pack.go, slow.go  its writes, its compression, and when it is too slow
//	durable.go         the read side of the Durable Streams protocol: the request, and where it begins
//	durable_page.go    a page: catch-up and long-poll, their headers and caching
//	durable_sse.go     events
//	durable_offset.go, durable_cursor.go  its offsets, and its cursors, which are no places
//	guard.go   token, Host, and what browsers say of a request
//	origins.go web pages of other origins: who may read, who may change something, and what browsers are told (CORS)
//	errors.go  errors into HTTP
package serve
