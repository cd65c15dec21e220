package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// RepairOptions say how a store is repaired.
type RepairOptions struct {
	DryRun   bool // only say what is wrong and what would be done
	Progress func(persistence.VerifyProgress)
}

// Repaired is what a repair found and did.
type Repaired struct {
	DryRun   bool                  `json:"dry_run,omitempty"`
	Findings []persistence.Finding `json:"findings"` // what was wrong
	Done     []RepairStep          `json:"done"`
	Lost     []RepairLoss          `json:"lost"`
	// Remaining is what is still wrong; nothing is what it should be.
	Remaining []persistence.Finding `json:"remaining"`
	Verified  persistence.Verified  `json:"verified"` // the last time that all was looked at
}

// RepairStep is one thing that was done.
type RepairStep struct {
	Stream string `json:"stream,omitempty"`
	File   string `json:"file"`            // below the store's directory
	Aside  string `json:"aside,omitempty"` // where the file as it was, or what was cut from it, is now
	What   string `json:"what"`
}

// RepairLoss is what is lost, and how the stream tells of it.
type RepairLoss struct {
	Stream string `json:"stream"`
	persistence.Loss
	Gap  *EntryID `json:"gap,omitempty"`  // the gap entry that tells of it
	Note string   `json:"note,omitempty"` // why there is none
}

// repairer repairs a store that nobody else has open.
type repairer struct {
	dir   string
	files disk.FS
	lock  *os.File
	opt   RepairOptions
	done  *Repaired

	mu     sync.Mutex
	events []persistence.Event
}

// RepairDir looks at all that the store in dir has on disk, and mends what is wrong with it: what
// is bad is moved to aside/, what is good stays, and what is lost becomes a gap entry of its
// stream. It holds the directory's lock meanwhile: the error matches persistence.ErrLocked while a
// process has the store open. It may be repeated after an error, or when it was cut short: nothing
// is lost by that, and no gap is told twice.
//
// The gap entry is appended here and not by the next start of the daemon: it is in the stream
// before the damage is out of it, a stream whose feed is no longer configured gets it too, and
// nothing needs to be remembered. What is lost at a stream's end is otherwise: the feed resumes
// from what is left, under the old IDs, and whether there is a gap at all is for the upstream to
// say. Its mark goes on knowing of it until then, and that it was told.
func RepairDir(ctx context.Context, dir string, opt RepairOptions) (Repaired, error) {
	done := Repaired{DryRun: opt.DryRun, Findings: []persistence.Finding{}, Done: []RepairStep{}, Lost: []RepairLoss{}, Remaining: []persistence.Finding{}}
	lock, err := lockStore(ctx, dir)
	if err != nil {
		return done, err
	}
	defer lock.Close()
	r := &repairer{dir: dir, files: disk.OS(), lock: lock, opt: opt, done: &done}
	_, err = r.verify(ctx, &done.Findings)
	if err != nil {
		return done, err
	}
	for _, f := range done.Findings {
		if f.Lost != nil {
			done.Lost = append(done.Lost, RepairLoss{Stream: f.Stream, Loss: *f.Lost})
		}
	}
	if opt.DryRun || len(done.Findings) == 0 {
		return done, nil
	}
	if err := r.open(ctx); err != nil {
		return done, err
	}
	if err := r.tellMarks(); err != nil {
		return done, err
	}
	var now []persistence.Finding
	streams, err := r.verify(ctx, &now)
	if err != nil {
		return done, err
	}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		if err := r.mend(ctx, name, streams[name]); err != nil {
			return done, fmt.Errorf("repair stream %s: %w", name, err)
		}
	}
	_, err = r.verify(ctx, &done.Remaining)
	return done, err
}

// verify looks at all there is.
func (r *repairer) verify(ctx context.Context, into *[]persistence.Finding) (map[string]*verifiedStream, error) {
	kept := make(map[string]*verifiedStream)
	var err error
	r.done.Verified, err = verifyLocked(ctx, r.dir, persistence.VerifyOptions{
		Found: func(f persistence.Finding) { *into = append(*into, f) }, Progress: r.opt.Progress,
	}, kept)
	return kept, err
}

// open opens the store, by which all is mended that does not stand in a sealed segment, and appends
// the gap entries.
func (r *repairer) open(ctx context.Context) (err error) {
	// The store closes its lock, and ours stays.
	fd, err := unix.Dup(int(r.lock.Fd()))
	if err != nil {
		return fmt.Errorf("keep the store's lock: %w", err)
	}
	s, err := Open(ctx, r.dir, Options{MinFree: 1, Maintenance: 24 * time.Hour, OnEvent: r.event, lock: os.NewFile(uintptr(fd), r.lock.Name())})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.Close())
		r.tellEvents()
	}()
	for i := range r.done.Lost {
		l := &r.done.Lost[i]
		if l.AtEnd {
			l.Note = "the upstream is asked for it again when the daemon starts"
			continue
		}
		if err := r.gap(ctx, s, l); err != nil {
			return fmt.Errorf("append a gap entry to stream %s: %w", l.Stream, err)
		}
	}
	return nil
}

func (r *repairer) event(e persistence.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// tellEvents makes steps of what opening the store did.
func (r *repairer) tellEvents() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		switch e := e.(type) {
		case persistence.FileDamaged:
			what := "made anew"
			if e.Aside != "" {
				what = "moved aside, or cut"
			}
			if e.Aside != "" || e.Stream == "" {
				r.did(e.Stream, e.File, e.Aside, what)
			}
		case persistence.StateLost:
			r.did("", stateDir, e.Aside, "made anew from "+copyFile)
		}
	}
	r.events = nil
}

func (r *repairer) did(stream, file, aside, what string) {
	r.done.Done = append(r.done.Done, RepairStep{Stream: stream, File: file, Aside: aside, What: what})
}

// gap appends the entry that tells of a loss, unless it is there.
func (r *repairer) gap(ctx context.Context, s *Store, l *RepairLoss) error {
	stream, err := s.Stream(ctx, l.Stream)
	if err != nil {
		return err
	}
	cp, err := stream.Checkpoint(ctx)
	if errors.Is(err, persistence.ErrNoCheckpoint) {
		l.Note = "nothing is left of the stream: the upstream is asked for it again when the daemon starts"
		return nil
	}
	if err != nil {
		return err
	}
	// No host: it is the gap that the feed would record by itself, and it is not recorded twice.
	gap := messages.Gap{FromUS: l.First.TimeUS(), ToUS: l.Last.TimeUS(), Cause: messages.GapCorrupt}
	event := gap.Entry()
	print := xxhash.Sum64(event)
	err = stream.Fingerprints(ctx, persistence.Horizon{Entries: gapHorizon}, func(b persistence.FingerprintBlock) bool {
		if slices.Contains(b.Fingerprints, print) {
			l.Gap = &b.Last
		}
		return l.Gap == nil
	})
	if err != nil || l.Gap != nil {
		return err
	}
	done, err := stream.Append(ctx, &messages.Batch{Buf: event, Events: []messages.Event{{
		Len: uint32(len(event)), Kind: messages.KindGap, TimeUS: gap.FromUS, Fingerprint: print,
	}}}, cp)
	if errors.Is(err, persistence.ErrStreamClosed) {
		l.Note = "the stream is closed: nothing can be appended; readers are told of the loss where it is"
		return nil
	}
	if err == nil {
		l.Gap = &done.Last
	}
	return err
}

// gapHorizon is how many of the newest entries are looked at for a gap entry that a repair which
// was cut short has left.
const gapHorizon = 10_000

// tellMarks notes that it was told what is lost of the ends of streams.
func (r *repairer) tellMarks() error {
	for _, f := range r.done.Findings {
		if f.Stream == "" || f.Remedy != remedyEnd {
			continue
		}
		path := filepath.Join(r.dir, marksDir, f.Stream)
		b, err := disk.ReadFile(r.files, path)
		if err != nil {
			return err
		}
		k, err := parseMark(b)
		if err != nil || k.told {
			continue
		}
		k.told = true
		told := k.encode()
		file, err := r.files.Open(path, disk.Write)
		if err != nil {
			return err
		}
		_, err = file.WriteAt(told[:], 0)
		if err == nil {
			err = file.Sync()
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("note what is lost: %w", err)
		}
		r.did(f.Stream, filepath.Join(marksDir, f.Stream), "", "notes what is lost, so that the next start of the daemon tells the feed")
	}
	return nil
}

// mend writes anew what is damaged of a stream's sealed segments, and puts empty ones in the place
// of those that are missing.
func (r *repairer) mend(ctx context.Context, stream string, found *verifiedStream) error {
	dir := filepath.Join(r.dir, streamsDir, stream)
	for _, n := range found.segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !n.damaged {
			continue
		}
		aside, err := r.keepAside(filepath.Join(r.dir, n.name))
		if err != nil {
			return err
		}
		what := "moved aside: nothing of it can be read"
		if len(n.parts) > 0 {
			what = "written anew with what is good of it"
			err = r.rewrite(dir, stream, n)
		} else {
			err = r.files.Unlink(filepath.Join(r.dir, n.name))
		}
		if err == nil {
			err = r.files.SyncDir(dir)
		}
		if err != nil {
			return err
		}
		r.did(stream, n.name, aside, what)
	}
	for _, m := range found.missing {
		if m.number == 0 {
			continue
		}
		if err := r.placeholder(dir, stream, m); err != nil {
			return err
		}
		r.did(stream, filepath.Join(streamsDir, stream, segmentName(m.number)), "", "an empty segment in the place of what is missing")
	}
	return nil
}

// keepAside gives a file a second name among what is set aside, or copies it there.
func (r *repairer) keepAside(path string) (string, error) {
	s := &Store{dir: r.dir, files: r.files}
	aside, err := s.asidePath(path)
	if err != nil {
		return "", err
	}
	err = errors.ErrUnsupported
	if linker, ok := r.files.(disk.Linker); ok {
		err = linker.Link(path, aside)
	}
	if err != nil {
		var b []byte
		if b, err = disk.ReadFile(r.files, path); err == nil {
			err = disk.ReplaceFile(r.files, filepath.Dir(aside), aside, b)
		}
	}
	if err == nil {
		err = r.files.SyncDir(filepath.Dir(aside))
	}
	if err != nil {
		return "", fmt.Errorf("keep a damaged file aside: %w", err)
	}
	return s.below(aside), nil
}
