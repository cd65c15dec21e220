// Package budget bounds the memory that a server's clients use together (I5): the pages that are
// being written to them, their filters and their buffers.
//
// The model: there is one [Budget] in bytes. A request opens a [Share] of it for its client. Before
// it reads a page it takes room for it ([Share.Take]), it gives back what the page did not need
// ([Share.Use]), and all of it when the page is written. Each client, which is an address, may use
// as much as is still free: one client alone half of the budget, two clients a third each, and so
// on. So there is always room for another client, and no number is tuned for it. The nearer a
// client is to its bound, the smaller are the pages that it is granted; at the bound, a request
// is refused. A connection that has begun (events, websockets) waits
// for as long as its client stays: its events are in the store.
//
// What ingest needs is no part of the budget: readers never slow it (I8).
package budget
