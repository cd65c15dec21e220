package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

const (
	crashDir      = "TEMPESTD_CRASH_DIR"
	crashInterval = "TEMPESTD_CRASH_INTERVAL"
)

// crashChild appends until it is killed, and prints the last ID of every acknowledged append. What
// it does depends only on what is stored, so the next crashChild continues where this one was
// killed.
func crashChild() error {
	ctx := context.Background()
	opt := embedded.Options{Maintenance: 20 * time.Millisecond, SegmentBytes: 16 << 10}
	opt.SyncInterval, _ = time.ParseDuration(os.Getenv(crashInterval))
	store, err := embedded.Open(ctx, os.Getenv(crashDir), opt)
	if err != nil {
		return err
	}
	s, err := store.OpenStream(ctx, "feed", persistence.StreamOptions{})
	if err != nil {
		return err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	batch := new(messages.Batch)
	for seq := info.Entries; ; {
		n := int(seq%7) + 1
		crashBatch(batch, seq, n)
		seq += int64(n)
		done, err := s.Append(ctx, batch, messages.Checkpoint{Position: messages.Position{Seq: seq}})
		if err != nil {
			return err
		}
		fmt.Printf("%s %d\n", done.Last, seq)
	}
}

// crashBatch makes events seq to seq+n-1. Their bytes identify them.
func crashBatch(b *messages.Batch, seq int64, n int) {
	b.Reset()
	for i := range int64(n) {
		off := len(b.Buf)
		b.Buf = append(b.Buf, crashEvent(seq+i)...)
		b.Events = append(b.Events, messages.Event{
			Off: uint32(off), Len: uint32(len(b.Buf) - off), TimeUS: start + (seq+i)/2*300, Fingerprint: uint64(seq + i),
		})
	}
}

func crashEvent(seq int64) []byte {
	return fmt.Appendf(nil, `{"seq":%d,"pad":"%s"}`, seq, bytes.Repeat([]byte{byte('a' + seq%26)}, int(seq%400)))
}

// runAndKill runs crashChild and kills it after it has acknowledged the given number of appends. It
// returns the last acknowledged ID and position.
func runAndKill(t *testing.T, dir, interval string, appends int) (last persistence.EntryID, seq int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashInterval+"="+interval)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == appends {
			must(t, cmd.Process.Kill())
		}
		id, number, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		parsed, err := messages.ParseEntryID(string(id))
		if err != nil {
			break // a line that was cut
		}
		last = parsed
		seq, err = strconv.ParseInt(string(number), 10, 64)
		must(t, err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	return last, seq
}

// checkCrashed compares everything that is stored with what crashChild appends, and returns the
// number of entries.
func checkCrashed(t *testing.T, s persistence.Stream) int64 {
	t.Helper()
	ctx := t.Context()
	cp, err := s.Checkpoint(ctx)
	if errors.Is(err, persistence.ErrNoCheckpoint) {
		cp, err = messages.Checkpoint{}, nil
	}
	must(t, err)
	var n int64
	var last persistence.EntryID
	for {
		page, err := s.Tail(ctx, persistence.CursorAt(last), 0, 1000)
		must(t, err)
		if len(page.Entries) == 0 {
			break
		}
		for _, f := range page.Entries {
			if want := messages.DeriveID(start+n/2*300, last); f.ID != want || !bytes.Equal(f.Event, crashEvent(n)) {
				t.Fatalf("entry %d is %s %.40s, want %s", n, f.ID, f.Event, want)
			}
			last = f.ID
			n++
		}
	}
	info, err := s.Info(ctx)
	must(t, err)
	if info.Entries != n {
		t.Errorf("info tells of %d entries, there are %d", info.Entries, n)
	}
	if cp.LastID != last || cp.Seq != n {
		t.Errorf("the checkpoint covers %d entries up to %s; stored are %d up to %s", cp.Seq, cp.LastID, n, last)
	}
	var count int64
	must(t, s.Fingerprints(ctx, persistence.Horizon{}, func(b persistence.FingerprintBlock) bool {
		for i, fingerprint := range slices.Backward(b.Fingerprints) {
			count++
			if fingerprint != uint64(n-count) {
				t.Fatalf("fingerprint %d of block %s is %d, want %d", i, b.Last, fingerprint, n-count)
			}
		}
		return true
	}))
	if count != n {
		t.Errorf("%d fingerprints of %d entries", count, n)
	}
	return n
}

// TestI1_I2_I3_KillLosesNothingAcknowledged kills a process that appends, maintains and syncs,
// again and again. No acknowledged entry is lost.
func TestI1_I2_I3_KillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	for _, interval := range []string{"", "5ms"} {
		t.Run("interval="+interval, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for round := range 4 {
				last, seq := runAndKill(t, dir, interval, 40+200*round)
				store, s := openFeed(t, dir, embedded.Options{})
				if lost := store.Truncations(); len(lost) > 0 {
					t.Errorf("round %d: truncated %+v", round, lost)
				}
				n := checkCrashed(t, s)
				if n < seq {
					t.Errorf("round %d: %d entries up to %s were acknowledged, %d are stored", round, seq, last, n)
				}
				must(t, store.Close())
			}
		})
	}
}
