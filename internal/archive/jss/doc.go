// Package jss reads the segments in which a Jetstream v2 server archives its events, and writes
// such segments for the simulator and for tests.
//
// # The file
//
// A sealed segment is immutable until a compaction replaces it. All numbers are little-endian.
//
//	header   256 bytes: magic "jss0", checksum, version, counts, ranges, offsets
//	blocks   from byte 256 on, one after another: u64 length, one zstd frame of that length
//	footer   block index, blooms of accounts, index of collections; to the end of the file
//
// The header's checksum is XXH3-64 over the header from byte 12 on and the footer. It does not
// cover the blocks; each zstd frame has a checksum of its own content, and a frame without one is
// refused. A reader that was told by the server which blocks to fetch needs neither the blooms nor
// the index of collections: this package reads the header and the block index.
//
// # The block
//
// A decompressed block has columns: u32 n, then for n rows each column in turn, then five areas of
// bytes, the rows' collections, DIDs, record keys, revs and payloads. Its length follows from its
// columns exactly. Sequence numbers rise strictly and have holes: compaction removes rows, and a
// server that crashed leaves numbers out. A hole is no sign of a loss.
//
// # What is checked
//
// Everything that is read comes from a server, and lengths are added up before anything is made
// from them. A header, an index, a frame or a block that contradicts itself is ErrCorrupt, with
// what contradicts what. MaxRows and the reader's own limit bound what a block may take.
//
// # Files
//
//	header.go  Header, Name: the first 256 bytes, names of segments
//	index.go   BlockInfo: the block index, the checksum over both
//	block.go   Block, Row: the columns
//	frame.go   Decompressor: one zstd frame, bounded
//	write.go   Build, Builder: segments for the simulator and for tests
package jss
