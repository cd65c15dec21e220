package segment

import "io"

// Row is a row of a footer: a block that has entries, or a hole.
type Row struct {
	Off              int64 // 0 for a hole
	HeadLen, BodyLen uint32
	First, Last      EntryID
	EndEntries       uint64 // ever appended, including its own
	EndBytes         uint64
	Count            uint32
	Flags            uint32
}

// FlagHole marks entries that were lost before the segment was sealed.
const FlagHole = 1

// Hole reports whether the row's entries are lost.
func (r *Row) Hole() bool { return r.Flags&FlagHole != 0 }

// Start is how many entries were ever appended before it.
func (r *Row) Start() uint64 { return r.EndEntries - uint64(r.Count) }

// Len is the number of bytes that it takes in the segment.
func (r *Row) Len() int64 { return align(int64(r.HeadLen) + int64(r.BodyLen)) }

const (
	footerHead = 16
	rowLen     = 72
	trailerLen = 128

	// TrailerLen is the length of a trailer.
	TrailerLen = trailerLen

	trailerMagic = "tmpstend"
)

// FooterLen returns the length of a footer that begins at the offset at and has the given rows.
func FooterLen(at int64, rows int) int64 { return trailerAt(at, rows) + trailerLen - at }

// trailerAt is where the trailer begins. It lies within one sector, so a power cut cannot leave a
// part of it.
func trailerAt(at int64, rows int) int64 {
	off := at + footerHead + int64(rows)*rowLen
	if off%sector > sector-trailerLen {
		off += sector - off%sector
	}
	return off
}

const sector = 512

// Trailer is the end of a sealed segment.
type Trailer struct {
	Number       uint64 // the segment's
	Rows         int
	Footer       int64 // where the footer begins
	Size         int64 // of the file
	End          Position
	MinUS, MaxUS int64
	StateOff     int64 // where the block begins that ends the last append
	StateHead    int   // length of that block's head
}

// AppendFooter appends the rows and the trailer, and sets the trailer's Rows, Footer and Size. The
// footer begins at the offset at, a multiple of 8. The trailer is the last TrailerLen bytes. It
// must be written when the rest of the file is on disk, because it says that the rest is there.
func AppendFooter(dst []byte, at int64, rows []Row, t *Trailer) []byte {
	t.Rows, t.Footer, t.Size = len(rows), at, at+FooterLen(at, len(rows))
	begin := len(dst)
	dst = append(dst, make([]byte, FooterLen(at, len(rows)))...)
	b := dst[begin:]
	put32(b, footerMagic)
	put32(b[4:], uint32(len(rows)))
	w := b[footerHead:]
	for i := range rows {
		r := &rows[i]
		put64(w, uint64(r.Off))
		put32(w[8:], r.HeadLen)
		put32(w[12:], r.BodyLen)
		putID(w[16:], r.First)
		putID(w[32:], r.Last)
		put64(w[48:], r.EndEntries)
		put64(w[56:], r.EndBytes)
		put32(w[64:], r.Count)
		put32(w[68:], r.Flags)
		w = w[rowLen:]
	}
	put32(b[8:], checksum(b[footerHead:footerHead+len(rows)*rowLen]))
	w = b[len(b)-trailerLen:]
	copy(w, trailerMagic)
	put32(w[12:], uint32(t.Rows))
	put64(w[16:], uint64(t.Footer))
	put64(w[24:], uint64(t.Size))
	put64(w[32:], t.Number)
	put64(w[40:], t.End.Number)
	put64(w[48:], t.End.Link)
	putID(w[56:], t.End.Last)
	put64(w[72:], t.End.Entries)
	put64(w[80:], t.End.Bytes)
	put64(w[88:], uint64(t.MinUS))
	put64(w[96:], uint64(t.MaxUS))
	put64(w[104:], uint64(t.StateOff))
	put32(w[112:], uint32(t.StateHead))
	put32(w[8:], checksum(w[12:trailerLen]))
	return dst
}

// ReadTrailer reads the trailer of the segment r, which has size bytes. The error matches
// ErrDamaged if there is no trailer; any other error is r's.
func ReadTrailer(r io.ReaderAt, size int64) (t Trailer, err error) {
	if size < HeaderLen+trailerLen {
		return t, damaged("%d bytes have no trailer", size)
	}
	var w [trailerLen]byte
	if err := readFull(r, w[:], size-trailerLen); err != nil {
		return t, err
	}
	if string(w[:8]) != trailerMagic || checksum(w[12:]) != u32(w[8:]) {
		return t, damaged("there is no trailer")
	}
	t = Trailer{
		Rows: int(u32(w[12:])), Footer: int64(u64(w[16:])), Size: int64(u64(w[24:])), Number: u64(w[32:]),
		End:   Position{Number: u64(w[40:]), Link: u64(w[48:]), Last: getID(w[56:]), Entries: u64(w[72:]), Bytes: u64(w[80:])},
		MinUS: int64(u64(w[88:])), MaxUS: int64(u64(w[96:])), StateOff: int64(u64(w[104:])), StateHead: int(u32(w[112:])),
	}
	if t.Size != size || t.Footer+FooterLen(t.Footer, t.Rows) != size {
		return t, damaged("the trailer of a segment of %d bytes in one of %d", t.Size, size)
	}
	return t, nil
}

// Sealed reports whether a segment without a whole trailer was sealed. Its footer begins at the
// offset at and has the given number of rows. If it was sealed, the segment is damaged. If not, its
// sealing was interrupted before the trailer was written.
func Sealed(r io.ReaderAt, size, at int64, rows int) (bool, error) {
	end := at + FooterLen(at, rows)
	if size < end {
		return size > at+footerHead && size != end, nil
	}
	var w [trailerLen]byte
	if err := readFull(r, w[:], end-trailerLen); err != nil {
		return false, err
	}
	return !allZero(w[:]), nil
}

// ReadRows reads the rows of a sealed segment.
func ReadRows(r io.ReaderAt, t *Trailer) ([]Row, error) {
	b := make([]byte, footerHead+t.Rows*rowLen)
	if err := readFull(r, b, t.Footer); err != nil {
		return nil, err
	}
	if u32(b) != footerMagic || int(u32(b[4:])) != t.Rows || checksum(b[footerHead:]) != u32(b[8:]) {
		return nil, damaged("the footer's checksum does not match")
	}
	rows := make([]Row, t.Rows)
	for i := range rows {
		w := b[footerHead+i*rowLen:]
		rows[i] = Row{
			Off: int64(u64(w)), HeadLen: u32(w[8:]), BodyLen: u32(w[12:]), First: getID(w[16:]), Last: getID(w[32:]),
			EndEntries: u64(w[48:]), EndBytes: u64(w[56:]), Count: u32(w[64:]), Flags: u32(w[68:]),
		}
	}
	return rows, nil
}

// readFull reads all of b. Missing bytes at the end of the file are damage, not an error of the
// file system.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return damaged("the file ends at %d, %d bytes before", off+int64(n), len(b)-n)
	}
	return err
}
