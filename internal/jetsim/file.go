package jetsim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBadHistory matches, with errors.Is, the error of every history file that is not usable.
var ErrBadHistory = errors.New("not a usable history")

// A history file is a header and then slots of 24 bytes. All numbers are little-endian, and the
// file is only appended to. A slot is a record or, with a negative content number, one of the marks
// below. Readers ignore a torn slot at the end.
const (
	slotCrash = -1 // the server crashed; seq is the lowest rank that it forgot
	// the first frame was sent; seq is the index of its record, and the time is when, without the
	// server's skew
	slotFirst = -2
	slotDrop  = -3 // history was dropped; seq is the lowest rank that is left
	slotMade  = -4 // a mark of made: seq is the content number
)

const (
	fileMagic  = "jetsim/3"
	headerSize = 48 // magic, seed, accounts, flags, began, step
	slotSize   = 24

	flagLegacy   = 1
	flagSyncs    = 2
	flagArchived = 4
)

// fileHeader describes the network and the server that a history belongs to.
type fileHeader struct {
	seed     uint64
	accounts uint64
	legacy   bool
	syncs    bool
	archived bool
	began    int64 // of a fixed line of made, Unix µs; 0 for none
	step     int64 // of that line, µs
}

// made returns the line of made that the header describes.
func (h fileHeader) made() *made {
	if h.began == 0 {
		return newMade()
	}
	return fixedMade(h.began, h.step)
}

func (h fileHeader) encode() []byte {
	b := append(make([]byte, 0, headerSize), fileMagic...)
	b = binary.LittleEndian.AppendUint64(b, h.seed)
	b = binary.LittleEndian.AppendUint64(b, h.accounts)
	var flags uint64
	if h.legacy {
		flags |= flagLegacy
	}
	if h.syncs {
		flags |= flagSyncs
	}
	if h.archived {
		flags |= flagArchived
	}
	b = binary.LittleEndian.AppendUint64(b, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.began))
	return binary.LittleEndian.AppendUint64(b, uint64(h.step))
}

func decodeHeader(b []byte) (fileHeader, error) {
	if len(b) < headerSize || string(b[:len(fileMagic)]) != fileMagic {
		return fileHeader{}, fmt.Errorf("%w: it does not begin with %q", ErrBadHistory, fileMagic)
	}
	h := fileHeader{seed: binary.LittleEndian.Uint64(b[8:]), accounts: binary.LittleEndian.Uint64(b[16:])}
	flags := binary.LittleEndian.Uint64(b[24:])
	h.legacy, h.syncs, h.archived = flags&flagLegacy != 0, flags&flagSyncs != 0, flags&flagArchived != 0
	h.began, h.step = int64(binary.LittleEndian.Uint64(b[32:])), int64(binary.LittleEndian.Uint64(b[40:]))
	if h.accounts < 1 || h.accounts > 1_000_000 {
		return fileHeader{}, fmt.Errorf("%w: it is of %d accounts", ErrBadHistory, h.accounts)
	}
	return h, nil
}

// maxSkip bounds how far a content number may jump ahead, in contents that the server has missed.
// Without it a damaged number could make a reader allocate too much memory.
const maxSkip = 1 << 24

// readLog reads the slots of a history up to its end or to a torn slot. size is the length of the
// valid part in bytes, with the header.
func readLog(r io.Reader) (log ingestLog, marks []mark, size int64, err error) {
	log = newIngestLog()
	br := bufio.NewReaderSize(r, 1<<16)
	size = headerSize
	var b [slotSize]byte
	for {
		if _, err := io.ReadFull(br, b[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return log, marks, size, nil
		} else if err != nil {
			return log, nil, 0, err
		}
		num, seq := int64(binary.LittleEndian.Uint64(b[:])), int64(binary.LittleEndian.Uint64(b[8:]))
		switch {
		case num >= 0 && num <= int64(log.n)+maxSkip:
			log.append(record{num, seq, int64(binary.LittleEndian.Uint64(b[16:]))})
		case num == slotCrash && seq >= 0 && seq <= int64(log.served()):
			log.crash(int(seq))
		case num == slotFirst && seq >= 0 && seq < int64(log.n):
			log.first, log.firstUS = int(seq), int64(binary.LittleEndian.Uint64(b[16:]))
		case num == slotMade && seq >= 0 && (len(marks) == 0 || seq > marks[len(marks)-1].num):
			marks = append(marks, mark{seq, int64(binary.LittleEndian.Uint64(b[16:]))})
		case num == slotDrop && seq >= 0 && seq <= int64(log.served()):
			log.kept = int(seq)
		default:
			return log, nil, 0, fmt.Errorf("%w: slot %d makes no sense", ErrBadHistory, (size-headerSize)/slotSize)
		}
		size += slotSize
	}
}

// logFile appends to a history file. Its zero value discards everything.
type logFile struct {
	f     *os.File
	buf   []byte
	marks int // of made, so many are in the file
}

// openLogFile opens or creates the history file and locks it against a second writer. The marks in
// it become those of m.
func openLogFile(path string, want fileHeader, m *made) (*logFile, fileHeader, ingestLog, error) {
	fail := func(err error) (*logFile, fileHeader, ingestLog, error) {
		return nil, fileHeader{}, ingestLog{}, fmt.Errorf("jetsim: history %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fail(err)
	}
	failClosed := func(err error) (*logFile, fileHeader, ingestLog, error) {
		f.Close()
		return fail(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return failClosed(errors.New("another simulator writes to it"))
	}
	head := make([]byte, headerSize)
	if n, err := io.ReadFull(f, head); errors.Is(err, io.EOF) && n == 0 {
		setDefault(&want.seed, 1)
		setDefault(&want.accounts, defaultAccounts)
		if _, err := f.Write(want.encode()); err != nil {
			return failClosed(err)
		}
		return &logFile{f: f}, want, newIngestLog(), nil
	} else if err != nil {
		return failClosed(fmt.Errorf("%w: its header is incomplete", ErrBadHistory))
	}
	have, err := decodeHeader(head)
	if err != nil {
		return failClosed(err)
	}
	setDefault(&want.seed, have.seed)
	setDefault(&want.accounts, have.accounts)
	if have != want {
		return failClosed(fmt.Errorf("it is of seed %d, %d accounts, legacy %t, syncs %t, archived %t, began %d and step %d; asked for are %d, %d, %t, %t, %t, %d and %d",
			have.seed, have.accounts, have.legacy, have.syncs, have.archived, have.began, have.step,
			want.seed, want.accounts, want.legacy, want.syncs, want.archived, want.began, want.step))
	}
	log, marks, size, err := readLog(f)
	if err != nil {
		return failClosed(err)
	}
	m.load(marks, log.contents)
	if err := f.Truncate(size); err != nil {
		return failClosed(err)
	}
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		return failClosed(err)
	}
	return &logFile{f: f, marks: len(marks)}, have, log, nil
}

// add buffers a slot. flush writes the buffered slots.
func (l *logFile) add(r record) {
	if l.f == nil {
		return
	}
	l.buf = binary.LittleEndian.AppendUint64(l.buf, uint64(r.num))
	l.buf = binary.LittleEndian.AppendUint64(l.buf, uint64(r.seq))
	l.buf = binary.LittleEndian.AppendUint64(l.buf, uint64(r.timeUS))
}

// addMarks buffers the marks of m that the file lacks. It comes before the records that need them.
func (l *logFile) addMarks(m *made) {
	if m.fixed {
		return
	}
	for marks := *m.marks.Load(); l.marks < len(marks); l.marks++ {
		l.add(record{num: slotMade, seq: marks[l.marks].num, timeUS: marks[l.marks].us})
	}
}

func (l *logFile) flush() error {
	if len(l.buf) == 0 {
		return nil
	}
	_, err := l.f.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

func (l *logFile) close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
