package actors_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// unwilling is a store that refuses some checkpoints.
type unwilling struct {
	persistence.CheckpointStore
	refuse int
}

func (u *unwilling) SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error {
	if u.refuse > 0 {
		u.refuse--
		return errors.New("odd")
	}
	return u.CheckpointStore.SaveCheckpoint(ctx, feed, cp)
}

func cursorOn(t *testing.T, stream persistence.Stream, checkpoints persistence.CheckpointStore) *stage {
	return newStage(t, func(*actor.PID) *actor.Props {
		return actors.NewCursor(actors.CursorConfig{Feed: feedName, Stream: stream, Checkpoints: checkpoints, Interval: 5 * time.Second,
			ReplayWindow: 12 * time.Hour, Clock: clockwork.NewRealClock(), Observer: observe.Discard()})
	})
}

// position is a checkpoint of an upstream's position that was saved at a second of the hour.
func position(host string, seq int64, saved int) messages.Checkpoint {
	at := time.Date(2026, 8, 1, 11, 0, 0, 0, time.UTC)
	return messages.Checkpoint{Position: messages.Position{Host: host, Seq: seq, TimeUS: at.Add(time.Duration(seq) * time.Second).UnixMicro()},
		Saved: at.Add(time.Duration(saved) * time.Second).UnixMicro()}
}

// A cursor that saves seldom has an older position than the stream, which saves with every append.
func TestI1_ThePositionThatWasSavedLastCounts(t *testing.T) {
	for name, c := range map[string]struct {
		stored, saved messages.Checkpoint
		want          int64
	}{
		"the stream's":     {position(hostA, 20, 200), position(hostA, 10, 100), 20},
		"the cursor's own": {position(hostA, 20, 200), position(hostA, 30, 300), 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, stream := openStore(t)
				if _, err := stream.Append(context.Background(), &messages.Batch{}, c.stored); err != nil {
					t.Fatal(err)
				}
				if err := store.SaveCheckpoint(context.Background(), feedName, c.saved); err != nil {
					t.Fatal(err)
				}
				s := cursorOn(t, stream, store)
				s.tell(&messages.ResumeQuery{Epoch: 1})
				if got := last[*messages.ResumePoint](s); got.Checkpoint.Seq != c.want {
					t.Errorf("it resumes from %+v, want number %d", got.Checkpoint, c.want)
				}
			})
		})
	}
}

// A quiet feed has nothing else to save: what the store refused is saved later all the same.
func TestASaveThatFailedIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, stream := openStore(t)
		checkpoints := &unwilling{store, 3}
		s := cursorOn(t, stream, checkpoints)
		s.tell(&messages.Committed{Epoch: 1, Checkpoint: position(hostA, 20, 200), Entries: 1})
		time.Sleep(10 * time.Minute)
		if got, err := store.LoadCheckpoint(context.Background(), feedName); err != nil || got.Seq != 20 || checkpoints.refuse > 0 {
			t.Errorf("saved is %+v, %v", got, err)
		}
	})
}

func TestATipOfAnotherHostSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, stream := openStore(t)
		s := cursorOn(t, stream, store)
		now := time.Now().UnixMicro()
		s.tell(&messages.Committed{Epoch: 1, Checkpoint: position(hostA, 20, 200), Entries: 1},
			&messages.AtTip{At: messages.UpstreamTime{Host: hostB, US: now}}, &messages.ResumeQuery{Epoch: 1})
		if got := last[*messages.ResumePoint](s); got.Checkpoint.AtTip != 0 {
			t.Errorf("the tip of another host makes it %+v", got.Checkpoint)
		}
		s.tell(&messages.AtTip{At: messages.UpstreamTime{Host: hostA, US: now}}, &messages.ResumeQuery{Epoch: 2})
		if got := last[*messages.ResumePoint](s); got.Checkpoint.AtTip != now {
			t.Errorf("the tip of its own makes it %+v", got.Checkpoint)
		}
	})
}
