// Package conns bounds the connections of a server (I5): their number, that of one address, how long
// one may stay that nobody knows, and what they take before a request is there.
//
// The model: a [Gate] stands between the listener and net/http. It counts each connection until it
// is closed, a websocket too. When there are too many, the connection that has been idle for the
// longest time is closed for the new one: a client that keeps connections for later keeps nobody
// out. Where none is idle, the new one is refused. A trusted proxy's connections are those of many
// clients, and so only their sum is bounded.
//
// A connection is known once a request on it was allowed. One that is not has seconds for each
// request, not the minutes that net/http lets a connection be idle.
//
// The head of a request, up to its last header, is in memory before anybody can count it. Few long ones
// are read at a time; the others wait for their turn, with [LongHead] bytes each. The connection of a
// long one is closed with its answer, because net/http keeps the first line as long as the connection.
//
// The number is chosen such that store and feeds always get the descriptors that they need.
package conns
