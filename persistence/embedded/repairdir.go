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

	"tempestd/internal/crashpoint"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// RepairOptions say how a store is repaired.
type RepairOptions struct {
	DryRun   bool // only report the faults and what a repair would do
	Progress func(persistence.VerifyProgress)
}

// Repaired is the result of a repair.
type Repaired struct {
	DryRun   bool                  `json:"dry_run,omitempty"`
	Findings []persistence.Finding `json:"findings"` // the faults
	Done     []RepairStep          `json:"done"`
	Lost     []RepairLoss          `json:"lost"`
	// Remaining is what is still wrong. It should be empty.
	Remaining []persistence.Finding `json:"remaining"`
	Verified  persistence.Verified  `json:"verified"` // the last verification of the whole store
}

// RepairStep is one step of a repair.
type RepairStep struct {
	Stream string `json:"stream,omitempty"`
	File   string `json:"file"` // relative to the store's directory
	// Aside is where the original file, or the part taken from it, is now.
	Aside string `json:"aside,omitempty"`
	What  string `json:"what"`
}

// RepairLoss is a loss and the gap entry that reports it.
type RepairLoss struct {
	Stream string `json:"stream"`
	persistence.Loss
	Gap  *EntryID `json:"gap,omitempty"`  // the gap entry that reports the loss
	Note string   `json:"note,omitempty"` // why there is no gap entry
}

// repairer repairs a store that no other process has open.
type repairer struct {
	dir   string
	files disk.FS
	lock  *os.File
	opt   RepairOptions
	done  *Repaired

	mu      sync.Mutex
	notices []persistence.Notice
}

// RepairDir verifies everything that the store in dir has on disk, and repairs its faults. Bad data
// is moved to aside/, good data stays, and every loss becomes a gap entry in its stream. RepairDir
// holds the directory's lock meanwhile: the error matches persistence.ErrLocked while a process has
// the store open. It may be repeated after an error or an interruption: that loses nothing, and no
// gap is recorded twice.
//
// RepairDir itself appends the gap entry; the next start of the daemon does not. So the entry is in
// the stream before the damage is removed from it. A stream whose feed is no longer configured gets
// it too. And nothing must be remembered until the next start. A loss at the end of a stream is
// different. The feed resumes from the remaining end and stores the entries under their old IDs.
// Only the upstream can tell whether a gap remains. Until then the stream's mark keeps the loss,
// and that it was reported.
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

// verify verifies the whole store.
func (r *repairer) verify(ctx context.Context, into *[]persistence.Finding) (map[string]*verifiedStream, error) {
	kept := make(map[string]*verifiedStream)
	var err error
	r.done.Verified, err = verifyLocked(ctx, r.dir, persistence.VerifyOptions{
		Found: func(f persistence.Finding) { *into = append(*into, f) }, Progress: r.opt.Progress,
	}, kept)
	return kept, err
}

// open opens the store. This repairs everything outside the sealed segments. Then it appends the
// gap entries.
func (r *repairer) open(ctx context.Context) (err error) {
	// The store closes the lock that it gets; the repairer keeps its own.
	fd, err := unix.Dup(int(r.lock.Fd()))
	if err != nil {
		return fmt.Errorf("keep the store's lock: %w", err)
	}
	s, err := Open(ctx, r.dir, Options{MinFree: 1, Maintenance: 24 * time.Hour, OnNotice: r.notice, lock: os.NewFile(uintptr(fd), r.lock.Name())})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.Close())
		r.reportNotices()
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

func (r *repairer) notice(n persistence.Notice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notices = append(r.notices, n)
}

// tellNotices makes repair steps of the notices from opening the store.
func (r *repairer) reportNotices() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.notices {
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
	r.notices = nil
}

func (r *repairer) did(stream, file, aside, what string) {
	r.done.Done = append(r.done.Done, RepairStep{Stream: stream, File: file, Aside: aside, What: what})
}

// gap appends the gap entry of a loss, unless the stream already has it.
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
	// Without a host it is the same gap that the feed would record, so it is not recorded twice.
	gap := messages.Gap{FromUS: l.First.TimeUS(), ToUS: l.Last.TimeUS(), Cause: messages.GapCorrupt}
	event := gap.Entry()
	fingerprint := xxhash.Sum64(event)
	err = stream.Fingerprints(ctx, persistence.Horizon{Entries: gapHorizon}, func(b persistence.FingerprintBlock) bool {
		if slices.Contains(b.Fingerprints, fingerprint) {
			l.Gap = &b.Last
		}
		return l.Gap == nil
	})
	if err != nil || l.Gap != nil {
		return err
	}
	done, err := stream.Append(ctx, &messages.Batch{Buf: event, Events: []messages.Event{{
		Len: uint32(len(event)), Kind: messages.KindGap, TimeUS: gap.FromUS, Fingerprint: fingerprint,
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

// gapHorizon is how many of the newest entries are searched for a gap entry of an earlier repair
// that was interrupted.
const gapHorizon = 10_000

// tellMarks records in the marks that losses at the ends of streams were reported.
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
		if err != nil || k.reported {
			continue
		}
		k.reported = true
		mark := k.encode()
		file, err := r.files.Open(path, disk.Write)
		if err != nil {
			return err
		}
		_, err = file.WriteAt(mark[:], 0)
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

// mend rewrites the damaged segments among a stream's sealed ones, and puts empty segments in the
// place of missing ones.
func (r *repairer) mend(ctx context.Context, stream string, found *verifiedStream) error {
	dir := filepath.Join(r.dir, streamsDir, stream)
	for _, n := range found.segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !n.damaged {
			continue
		}
		path := filepath.Join(r.dir, n.name)
		if len(n.parts) == 0 {
			aside, err := r.moveAside(path)
			if err != nil {
				return err
			}
			r.did(stream, n.name, aside, "moved aside: nothing of it can be read")
			continue
		}
		aside, err := r.keepAside(path)
		crashpoint.Pass(crashpoint.MendAside)
		if err == nil {
			err = r.rewrite(dir, stream, n)
		}
		if err == nil {
			err = r.files.SyncDir(dir)
		}
		if err != nil {
			return err
		}
		what := "written anew with what is good of it"
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

// moveAside moves what is no segment into the directory for damaged data.
func (r *repairer) moveAside(path string) (string, error) {
	s := &Store{dir: r.dir, files: r.files}
	aside, err := s.asidePath(path)
	if err == nil {
		err = r.files.Rename(path, aside)
	}
	if err == nil {
		err = errors.Join(r.files.SyncDir(filepath.Dir(path)), r.files.SyncDir(filepath.Dir(aside)))
	}
	if err != nil {
		return "", fmt.Errorf("move a damaged file aside: %w", err)
	}
	return s.below(aside), nil
}

// keepAside links a file into the directory for damaged data, or copies it there.
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
