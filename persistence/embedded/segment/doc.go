// Package segment defines the format of a stream's files. It consists of pure functions from events
// to bytes and back. It opens no files and keeps no state.
//
// # A segment
//
// A stream is a sequence of segments, numbered from 1. A segment is a header, then blocks, and a
// footer when it is sealed. Numbers are little endian. An ID is two numbers (milliseconds,
// sequence). Times are Unix microseconds. Checksums are CRC32C. Bytes that are not listed are zero.
//
// # Header, 512 bytes
//
//	 0  "tmpstseg"
//	 8  4  version of the layout: 1
//	12  4  CRC32C of bytes 16 to 511
//	16  8  the segment's number
//	24  8  entries ever appended to the stream before it
//	32  8  bytes ever appended before it, counting only blocks that have entries
//	40  8  number of the last block before it
//	48  8  link of that block
//	56 16  ID of the newest entry before it
//	72 16  ID of its first entry; 0-0 if the first append had no entries
//	88  4  how often it was packed
//	92  1  length of the stream's name; the name follows in up to 64 bytes
//
// # Block
//
// An append is one block or several, back to back. They are valid together or not at all: all but
// the last have the flag "more". Blocks begin at multiples of 8 bytes. A block is a head and a
// body. The head contains everything except the bytes of the events. It also contains the state of
// the stream after this block.
//
//	  0  4  0x314b4c42 ("BLK1")
//	  4  4  length of the head
//	  8  4  length of the body
//	 12  4  CRC32C of the head without this field
//	 16  8  number: blocks ever appended to the stream, including this one
//	 24  8  link of the block before it
//	 32  8  its link
//	 40 16  ID of its first entry; 0-0 without entries
//	 56 16  ID of its last entry; without entries, the ID of the stream's last entry
//	 72  8  entries ever appended to the stream, including its own; a jump here shows a hole
//	 80  8  bytes ever appended, including its own; a block without entries adds none
//	 88  4  number of entries
//	 92  1  codec of the body: 1 s2, 2 zstd
//	 93  1  flags: 1 more
//	 96  8  smallest time of its events
//	104  8  greatest time of its events
//	112 16  floor: ID of the newest entry that retention had dropped
//	128  8  entries ever dropped
//	136  8  bytes ever dropped
//	144  8  when the stream was closed for good; 0 while it is open
//	152  4  number of chunks
//	156  4  number of parts; 0 for a block as it was appended
//	160  4  length of the checkpoint
//	164  4  length of the reason for closing
//	168     fingerprints, 8 bytes per entry
//	        chunk table: entries, compressed length, CRC32C of the compressed bytes; 4 bytes each
//	        parts: the number of entries of each block that was packed into this one, varints
//	        checkpoint of this append, JSON; a block with "more" has none
//	        reason for closing, text
//	        IDs after the first, varints: milliseconds since the ID before; sequence, since the
//	        ID before if the milliseconds are the same
//	        lengths of the events, varints
//	        body: the chunks, each compressed separately
//
// A block without entries moves the checkpoint or the floor, or closes the stream.
//
// # Link
//
// The link of a block with entries is an XXH64, seeded with the link before it, of: first ID, last
// ID, entries ever appended before the block (8 bytes), number of entries (4), fingerprints. A
// block without entries has the link of the block before it. So a link does not depend on the
// compression of the body. A packed block has the link of the last of its parts; it can be computed
// from the parts.
//
// # Footer
//
// The footer follows the last block at a multiple of 8 bytes. It is: 0x31525446 ("FTR1", 4 bytes),
// the number of rows (4), the CRC32C of the rows (4), 4 bytes of zero, one row for each block that
// has entries and for each hole, and the trailer, which ends the file. If the trailer would not lie
// within one sector of 512 bytes, there are zeros between the rows and the trailer. The trailer is
// written when everything before it is on disk.
//
// Row, 72 bytes:
//
//	 0  8  where the block begins; 0 for a hole
//	 8  4  length of its head
//	12  4  length of its body
//	16 16  first ID
//	32 16  last ID
//	48  8  entries ever appended, including its own
//	56  8  bytes ever appended, including its own
//	64  4  number of entries
//	68  4  flags: 1 hole, entries that were lost before the segment was sealed
//
// A segment that was written by a repair may have only holes, and then no block that ends an
// append.
//
// Trailer, 128 bytes:
//
//	  0  "tmpstend"
//	  8  4  CRC32C of bytes 12 to 127
//	 12  4  number of rows
//	 16  8  where the footer begins
//	 24  8  length of the file
//	 32  8  the segment's number
//	 40  8  number of its last block
//	 48  8  link of its last block
//	 56 16  ID of the stream's newest entry at its end
//	 72  8  entries ever appended at its end
//	 80  8  bytes ever appended at its end
//	 88  8  smallest time of its events
//	 96  8  greatest time of its events
//	104  8  where the block begins that ends its last append: the one with the checkpoint
//	112  4  length of that block's head
//
// # How faults are distinguished
//
// The next cases are about a block that does not match its checksums.
//
//   - Torn: no good block follows, and the block was not acknowledged. The append was interrupted.
//   - Lost: no good block follows, and the block was acknowledged.
//   - Damaged: good blocks follow, and the block was known to be on disk. If it was not known to be
//     on disk, the stream ends before it: a power cut may have lost the block and kept the blocks
//     after it.
//
// If the number or the link of a block does not follow from the block before it, the blocks between
// them are missing, or the block is a remnant of older data.
package segment
