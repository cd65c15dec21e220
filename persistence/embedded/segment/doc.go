// Package segment is the format of a stream's files: pure functions from events to bytes and back.
// It opens nothing and keeps nothing.
//
// # A segment
//
// A stream is a row of segments, numbered from 1. A segment is a header, then blocks, and once it
// is sealed a footer. Numbers are little endian, IDs are two of them (milliseconds, sequence),
// times are Unix microseconds, checksums are CRC32C. What is not listed is zero.
//
// # Header, 512 bytes
//
//	 0  "tmpstseg"
//	 8  4  version of the layout: 1
//	12  4  CRC32C of bytes 16 to 511
//	16  8  the segment's number
//	24  8  entries ever appended to the stream before it
//	32  8  bytes ever appended before it, which are those of blocks that have entries
//	40  8  number of the last block before it
//	48  8  link of that block
//	56 16  ID of the newest entry before it
//	72 16  ID of its first entry; 0-0 where the first append had none
//	88  4  how often it was packed
//	92  1  length of the stream's name, and the name in up to 64 bytes
//
// # Block
//
// An append is one block or several, back to back, which are there together or not at all: all but
// the last have the flag "more". Blocks begin at multiples of 8 bytes. A block is a head and a
// body. The head says all there is to say but for the events' bytes, and of the stream what it is
// with this block.
//
//	  0  4  0x314b4c42 ("BLK1")
//	  4  4  length of the head
//	  8  4  length of the body
//	 12  4  CRC32C of the head, this field left out
//	 16  8  number: blocks ever appended to the stream, this one included
//	 24  8  link of the block before it
//	 32  8  its link
//	 40 16  ID of its first entry; 0-0 without entries
//	 56 16  ID of its last entry, without entries of the stream's
//	 72  8  entries ever appended to the stream, its own included: by this ordinal a hole shows
//	 80  8  bytes ever appended, its own included; a block without entries adds none
//	 88  4  number of entries
//	 92  1  codec of the body: 1 s2, 2 zstd
//	 93  1  flags: 1 more
//	 96  8  least time of its events
//	104  8  greatest time of its events
//	112 16  floor: ID of the newest entry that retention had dropped
//	128  8  entries ever dropped
//	136  8  bytes ever dropped
//	144  8  when the stream was closed for good; 0 while it is open
//	152  4  number of chunks
//	156  4  number of parts; 0 for a block as it was appended
//	160  4  length of the checkpoint
//	164  4  length of the reason for closing
//	168     fingerprints, 8 bytes an entry
//	        chunk table: entries, compressed length, CRC32C of the compressed bytes; 4 bytes each
//	        parts: the number of entries of each block that this one was packed from, varints
//	        checkpoint, JSON, as it is with this append; in a block with "more" there is none
//	        reason for closing, text
//	        IDs after the first: milliseconds since the last one; sequence, since the last one if the milliseconds are the same; varints
//	        lengths of the events, varints
//	        body: the chunks, each compressed by itself
//
// A block without entries moves the checkpoint or the floor, or closes the stream.
//
// # Link
//
// The link of a block with entries is the XXH64, with the link before it as the seed, of: first ID,
// last ID, entries ever appended before it (8 bytes), number of entries (4), fingerprints. A block
// without entries passes on the link before it. So the links do not depend on how a body is
// compressed, and a packed block has the link of the last of its parts, which follows from the
// parts.
//
// # Footer
//
// It follows the last block at a multiple of 8 bytes: 0x31525446 ("FTR1", 4 bytes), the number of
// rows (4), the CRC32C of the rows (4), 4 bytes of zero, a row for each block that has entries and
// each hole, and the trailer, with which the file ends. Between the rows and the trailer are zeros
// where the trailer would not lie within one sector of 512 bytes otherwise. It is written when all
// before it is on the disk.
//
// Row, 72 bytes:
//
//	 0  8  where the block begins; 0 for a hole
//	 8  4  length of its head
//	12  4  length of its body
//	16 16  first ID
//	32 16  last ID
//	48  8  entries ever appended, its own included
//	56  8  bytes ever appended, its own included
//	64  4  number of entries
//	68  4  flags: 1 hole, entries that were lost before the segment was sealed
//
// A segment that a repair wrote may have holes alone, and then no block that ends an append.
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
//	 88  8  least time of its events
//	 96  8  greatest time of its events
//	104  8  where the block begins that ends its last append: the one with the checkpoint
//	112  4  length of that block's head
//
// # What tells faults apart
//
// A block that does not match its checksums, with nothing good after it, and which nobody was told
// of: torn, an append that was cut short. The same, told of: lost. The same with good blocks after
// it: damaged, unless it was not known to be on the disk, when a power cut may have kept what came
// after it. A block whose number or link does not follow: what is between is missing, or it is a
// remnant.
package segment
