// Package archive reads history that a feed's socket no longer has: the archive of a Jetstream v2
// server.
//
// A server archives every event in numbered segments (package jss), with records and messages as
// DAG-CBOR (package dagcbor). Renderer makes of a row the frame that the same server's socket
// sends for it, byte for byte, so that what comes from the archive passes through the code that
// reads a socket, and has the same identity there.
package archive
