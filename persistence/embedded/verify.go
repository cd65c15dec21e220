package embedded

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// verifier checks everything that a store has on disk. It changes nothing.
type verifier struct {
	dir   string
	files disk.FS
	opt   persistence.VerifyOptions
	pace  *pace
	in    inspector
	done  persistence.Verified
	prog  persistence.VerifyProgress

	// kept are the inspections of the streams' segments for a repair; nil if there is no repair.
	kept map[string]*verifiedStream
}

// verifiedStream is the result of checking a stream.
type verifiedStream struct {
	segs    []*inspection // the kept segments, oldest first
	missing []missing
	lostEnd bool
}

// missing is a range of entries whose files are missing.
type missing struct {
	number   uint64 // of the last missing file
	from, to segment.Position
}

// target is the files of a stream and where they must end.
type target struct {
	name    string
	numbers []uint64
	known   known            // what is known of the stream's end outside the segments
	sizes   map[uint64]int64 // how much to check of a file that is being written
	dropped uint64           // entries that retention dropped; only in a store that is in use
	// gone reports whether a missing file was dropped by retention. nil means that no file may be
	// missing.
	gone func(number uint64) bool
	open bool // the stream is in use, and its end is where the writer left it
}

// Verify implements persistence.Verifier. It reads the committed data, while readers and the writer
// continue. The HTTP API runs one verification at a time.
func (s *Store) Verify(ctx context.Context, opt persistence.VerifyOptions) (persistence.Verified, error) {
	release, err := s.use()
	if err != nil {
		return persistence.Verified{}, err
	}
	defer release()
	if opt.Stream != "" {
		if _, err := s.Stream(ctx, opt.Stream); err != nil {
			return persistence.Verified{}, err
		}
	}
	v, err := newVerifier(s.dir, s.files, s.clock, opt)
	if err != nil {
		return persistence.Verified{}, err
	}
	defer v.close()
	v.pace.closed = s.closed
	var targets []*target
	for _, st := range s.all() {
		if opt.Stream == "" || st.name == opt.Stream {
			targets = append(targets, st.target())
		}
	}
	if err := v.streams(ctx, targets); err != nil {
		return v.done, err
	}
	if opt.Stream == "" {
		v.stateInUse(s.state)
	}
	return v.done, ctx.Err()
}

// target returns what a verification checks of a stream that is in use.
func (st *stream) target() *target {
	st.write.Lock()
	t, off := st.tip.Load(), st.w.off
	st.write.Unlock()
	out := &target{name: st.name, sizes: make(map[uint64]int64), dropped: t.meta.droppedEntries, open: true}
	for _, g := range t.segs {
		if !g.hole() {
			out.numbers = append(out.numbers, g.number)
		}
		if g == t.active {
			out.sizes[g.number] = off
		}
	}
	out.known = known{last: t.meta.end.Last, synced: t.meta.end.Last, number: t.meta.end.Number, entries: t.meta.end.Entries, found: true}
	if lost := t.meta.lost; lost != nil {
		out.known.last = lost.Expected
	}
	out.gone = func(number uint64) bool {
		return !slices.ContainsFunc(st.tip.Load().segs, func(g *segmentFile) bool { return !g.hole() && g.number == number })
	}
	return out
}

// VerifyDir checks everything that the store in dir has on disk. It changes nothing. It holds the
// directory's lock meanwhile: the error matches persistence.ErrLocked while a process has the store
// open.
func VerifyDir(ctx context.Context, dir string, opt persistence.VerifyOptions) (persistence.Verified, error) {
	lock, err := lockStore(ctx, dir)
	if err != nil {
		return persistence.Verified{}, err
	}
	defer lock.Close()
	v, err := verifyLocked(ctx, dir, opt, nil)
	return v, err
}

// verifyLocked is VerifyDir for a caller that holds the lock. It puts the results for the streams
// into kept, unless kept is nil.
func verifyLocked(ctx context.Context, dir string, opt persistence.VerifyOptions, kept map[string]*verifiedStream) (persistence.Verified, error) {
	v, err := newVerifier(dir, disk.OS(), clockwork.NewRealClock(), opt)
	if err != nil {
		return persistence.Verified{}, err
	}
	defer v.close()
	v.kept = kept
	registered, err := v.stateAtRest(ctx, opt.Stream == "")
	if err != nil {
		return v.done, err
	}
	targets, err := v.targets(registered)
	if err != nil {
		return v.done, err
	}
	err = v.streams(ctx, targets)
	return v.done, err
}

func newVerifier(dir string, files disk.FS, clock clockwork.Clock, opt persistence.VerifyOptions) (*verifier, error) {
	dec, err := segment.NewDecoder()
	if err != nil {
		return nil, err
	}
	if opt.Progress == nil {
		opt.Progress = func(persistence.VerifyProgress) {}
	}
	return &verifier{
		dir: dir, files: files, opt: opt, in: inspector{segment.NewInspector(dec), dec},
		pace: &pace{clock: clock, perSecond: opt.BytesPerSecond, began: clock.Now()},
	}, nil
}

func (v *verifier) close() { v.in.dec.Close() }

// found counts and reports a finding.
func (v *verifier) found(f persistence.Finding) {
	v.done.Damaged++
	if f.Lost != nil {
		v.done.Lost += f.Lost.Entries
	}
	v.opt.Found(f)
}

// targets returns the streams of a store that no process uses.
func (v *verifier) targets(registered map[string]known) ([]*target, error) {
	names := make(map[string]bool)
	for name := range registered {
		names[name] = true
	}
	for _, dir := range []string{streamsDir, marksDir} {
		found, err := v.files.List(filepath.Join(v.dir, dir))
		if err != nil && !isGone(err) {
			return nil, err
		}
		for _, name := range found {
			if persistence.CheckName(name) == nil {
				names[name] = true
			}
		}
	}
	if v.opt.Stream != "" {
		if !names[v.opt.Stream] {
			return nil, fmt.Errorf("%w: %.80q", persistence.ErrNoStream, v.opt.Stream)
		}
		names = map[string]bool{v.opt.Stream: true}
	}
	var targets []*target
	for name := range names {
		t := &target{name: name}
		dir := filepath.Join(streamsDir, name)
		found, err := v.files.List(filepath.Join(v.dir, dir))
		if errors.Is(err, syscall.ENOTDIR) {
			v.found(persistence.Finding{Stream: name, File: dir, Fault: "it is not a directory", Remedy: remedyAside})
		} else if err != nil && !isGone(err) {
			return nil, err
		}
		for _, file := range found {
			if n, ok := parseSegmentName(file); ok {
				t.numbers = append(t.numbers, n)
			}
		}
		slices.Sort(t.numbers)
		t.known = v.mark(name, len(t.numbers) > 0)
		if r := registered[name]; r.last.Compare(t.known.last) > 0 {
			t.known.last, t.known.reported = r.last, false
			t.known.entries = max(t.known.entries, r.entries)
		}
		targets = append(targets, t)
	}
	slices.SortFunc(targets, func(a, b *target) int { return strings.Compare(a.name, b.name) })
	return targets, nil
}

// mark reads a stream's high-water mark.
func (v *verifier) mark(stream string, needed bool) known {
	file := filepath.Join(marksDir, stream)
	b, err := disk.ReadFile(v.files, filepath.Join(v.dir, file))
	var k known
	if err == nil {
		k, err = parseMark(b)
	}
	if err != nil && (needed || !isGone(err)) {
		v.found(persistence.Finding{Stream: stream, File: file, Fault: "the high-water mark: " + err.Error(),
			Remedy: "a new one is made; until it is there a lost end of the stream is noticed by the register alone"})
	}
	return k
}

// streams checks each of the streams.
func (v *verifier) streams(ctx context.Context, targets []*target) error {
	for _, t := range targets {
		v.prog.Of += len(t.numbers)
		for _, n := range t.numbers {
			if size, err := v.sizeOf(t, n); err == nil {
				v.prog.OfBytes += size
			}
		}
	}
	for _, t := range targets {
		v.prog.Stream = t.name
		s := &streamCheck{v: v, t: t, kept: new(verifiedStream)}
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("stream %s: %w", t.name, err)
		}
		v.done.Streams++
		if v.kept != nil {
			v.kept[t.name] = s.kept
		}
	}
	return nil
}

func (v *verifier) segmentName(stream string, number uint64) string {
	return filepath.Join(streamsDir, stream, segmentName(number))
}

func (v *verifier) sizeOf(t *target, number uint64) (int64, error) {
	if size, ok := t.sizes[number]; ok {
		return size, nil
	}
	f, err := v.files.Open(filepath.Join(v.dir, v.segmentName(t.name, number)), disk.Read)
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

// inspect checks one segment's file.
func (v *verifier) inspect(ctx context.Context, t *target, number uint64, before *segment.Position) (*inspection, error) {
	name := v.segmentName(t.name, number)
	f, err := v.files.Open(filepath.Join(v.dir, name), disk.Read)
	if errors.Is(err, disk.ErrNotRegular) {
		return &inspection{name: name, number: number, headerErr: err}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, fixed := t.sizes[number]
	if !fixed {
		if size, err = f.Size(); err != nil {
			return nil, err
		}
	}
	v.pace.ctx, v.pace.file = ctx, f
	read := v.pace.read
	n, err := v.in.inspect(v.pace, size, t.name, number, before)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	n.name = name
	v.done.Segments++
	v.done.Bytes += v.pace.read - read
	v.prog.Segments++
	v.prog.Bytes += size
	v.opt.Progress(v.prog)
	return n, ctx.Err()
}

// pace reads a file at a bounded rate.
type pace struct {
	clock     clockwork.Clock
	perSecond int64
	began     time.Time
	read      int64
	closed    <-chan struct{} // closed with the store, nil if the store is not open
	ctx       context.Context
	file      disk.File
}

// ReadAt implements io.ReaderAt.
func (p *pace) ReadAt(b []byte, off int64) (int, error) {
	select {
	case <-p.closed:
		return 0, persistence.ErrStoreClosed
	case <-p.ctx.Done():
		return 0, p.ctx.Err()
	default:
	}
	n, err := p.file.ReadAt(b, off)
	p.read += int64(n)
	if p.perSecond > 0 {
		due := time.Duration(float64(p.read) / float64(p.perSecond) * float64(time.Second))
		if wait := due - p.clock.Since(p.began); wait > 0 {
			select {
			case <-p.closed:
				return n, persistence.ErrStoreClosed
			case <-p.ctx.Done():
				return n, p.ctx.Err()
			case <-p.clock.After(wait):
			}
		}
	}
	return n, err
}
