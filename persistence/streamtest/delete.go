package streamtest

import (
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// testDelete deletes a stream with everything that belongs to it. A stream that gets its name later
// knows nothing of it, and other streams are left alone.
func testDelete(t *testing.T, b Backend) {
	f := open(t, b)
	ctx := t.Context()
	f.append(20)
	must(t, f.store.SaveCheckpoint(ctx, "feed", messages.Checkpoint{Position: messages.Position{Seq: 7}}))
	_, err := f.store.UpdateConsumer(ctx, "feed", "reader", func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		return &persistence.ConsumerState{}, nil
	})
	must(t, err)
	must(t, f.stream.SaveGaps(ctx, []messages.GapRow{{ID: "1234", Feed: "feed", State: messages.GapOpen, Version: 1}}))
	_, err = f.store.OpenStream(ctx, "feed2", persistence.StreamOptions{})
	must(t, err)
	if leases, shared := f.store.(persistence.LeaseStore); shared {
		expectError(t, "deleting a stream whose lease is held", f.store.DeleteStream(ctx, "feed"), messages.ErrNotNow)
		owners, err := leases.Owners(ctx, []string{"feed", "feed2"})
		must(t, err)
		for _, o := range owners {
			must(t, leases.Release(ctx, messages.Lease{Stream: o.Stream, Node: o.Node, Epoch: o.Epoch}))
		}
	}
	expectError(t, "deleting a stream that is not there", f.store.DeleteStream(ctx, "none"), persistence.ErrNoStream)
	must(t, f.store.DeleteStream(ctx, "feed"))
	expectError(t, "deleting it again", f.store.DeleteStream(ctx, "feed"), persistence.ErrNoStream)
	for _, when := range []string{"deleted", "opened again"} {
		_, err := f.store.Stream(ctx, "feed")
		expectError(t, when, err, persistence.ErrNoStream)
		_, err = f.store.Consumers(ctx, "feed")
		expectError(t, when+": its consumers", err, persistence.ErrNoStream)
		infos, err := f.store.Streams(ctx)
		must(t, err)
		if len(infos) != 1 || infos[0].Name != "feed2" {
			t.Errorf("%s: the streams are %+v", when, infos)
		}
		if when == "deleted" {
			must(t, f.store.Close())
			f.store, err = f.backend.Open(ctx, f.dir)
			must(t, err)
		}
	}
	f.stream, err = f.store.OpenStream(ctx, "feed", persistence.StreamOptions{})
	must(t, err)
	_, err = f.stream.Checkpoint(ctx)
	expectError(t, "the checkpoint of the new stream", err, persistence.ErrNoCheckpoint)
	_, err = f.store.LoadCheckpoint(ctx, "feed")
	expectError(t, "the saved checkpoint", err, persistence.ErrNoCheckpoint)
	gaps, err := f.stream.Gaps(ctx)
	must(t, err)
	consumers, err := f.store.Consumers(ctx, "feed")
	must(t, err)
	if len(gaps)+len(consumers) > 0 {
		t.Errorf("the new stream has the gaps %+v and the consumers %+v", gaps, consumers)
	}
	want := f.append(3)
	got, err := everything(ctx, f.stream, 10)
	must(t, err)
	expectEntries(t, "the new stream", got, want)
}
