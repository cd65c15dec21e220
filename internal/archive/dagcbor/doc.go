// Package dagcbor reads DAG-CBOR, the form in which the AT Protocol stores and signs records, and
// writes it as the JSON that Jetstream servers send, and back.
//
// # What is accepted
//
// The encoding has one spelling for each value, and Parser takes no other: definite lengths, the
// shortest form of each number, map keys that are text, unique, and sorted by length and then by
// bytes, valid UTF-8, nothing after the value, at most MaxDepth levels. Anything else is
// ErrMalformed.
//
// The data model of the AT Protocol is smaller than DAG-CBOR. A value that is well-formed and
// outside the model is ErrOutsideModel: floats, integers beyond int64, and links to anything but a
// CIDv1 of SHA-256 with the codec dag-cbor or raw. Servers leave such records out of their sockets,
// but archives from before 2026-09 hold some.
//
// # JSON
//
// Encoder sorts the keys of an object by bytes, writes integers in decimal, bytes as
// {"$bytes":"…"} in standard base64 without padding, links as {"$link":"b…"}, and escapes strings
// as Go's encoding/json does with HTML escaping. The result has the bytes that the server which
// archived the record sends for it.
//
// The way back, from JSON that another server has written to the one encoding, is FromJSON and
// Append. It is how the CID of a record is found that came as JSON.
//
// # Files
//
//	parse.go  Parser: one item at a time, without allocation
//	json.go   Encoder: JSON of one value
//	append.go FromJSON, Append: the encoding of values and of JSON
//	text.go   JSON strings
//	cid.go    CID: content identifiers
package dagcbor
