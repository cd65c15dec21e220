package actors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// onceSocket sends one batch, and says before it that it cannot go back as far as it was asked.
type onceSocket struct {
	batch *messages.Batch
	done  chan struct{}
}

func (o *onceSocket) Run(b *messages.Batch, sink jetstream.Sink, _ jetstream.Limits) (*messages.Batch, error) {
	sink.Info(atproto.OutdatedCursor, "")
	sink.First(o.batch.Events[0])
	*b = *o.batch
	next := sink.Hand(b)
	<-o.done
	return next, jetstream.ErrClosed
}

func (o *onceSocket) Wire() jetstream.Wire                                 { return jetstream.Wire{Protocol: jetstream.ProtocolV2} }
func (o *onceSocket) UpdateFilter(context.Context, jetstream.Filter) error { return nil }
func (o *onceSocket) Ping(context.Context) error                           { return nil }
func (o *onceSocket) Activity() jetstream.Activity                         { return jetstream.Activity{Frames: 1} }
func (o *onceSocket) ServerDate() (time.Time, bool)                        { return time.Time{}, false }
func (o *onceSocket) Close(int, string) error                              { return nil }
func (o *onceSocket) CloseNow() {
	select {
	case <-o.done:
	default:
		close(o.done)
	}
}

// A feed that begins at a time, which its socket does not go back to, reads the archive instead. What
// the socket has sent by then would hide what lies before it.
func TestI4_NothingOfARejectedConnectionIsStored(t *testing.T) {
	for _, orArchive := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)))
			e, err := jetstream.ParseEndpoint("wss://a.example")
			if err != nil {
				t.Fatal(err)
			}
			begin := jetstream.Begin{US: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC).UnixMicro()}
			resume := jetstream.Resume{Begin: begin, Endpoint: e, Now: time.Now()}
			pool, start := actors.NewPool(), time.Now()
			s := newStage(t, func(ear *actor.PID) *actor.Props {
				return actors.NewConnection(actors.ConnectionConfig{Feed: feedName, DialTimeout: time.Minute, PingInterval: time.Minute, PingTimeout: time.Minute,
					Limits: jetstream.Limits{Events: 100, Bytes: 1 << 20}, Pool: pool, Writer: ear, Watchdog: ear, Clock: clockwork.NewRealClock(),
					Monotonic: func() time.Duration { return time.Since(start) }, Observer: observe.Discard(),
					Dial: func(context.Context, jetstream.Request) (actors.Upstream, error) {
						return &onceSocket{batchOf(t, 1, 2, 3), make(chan struct{})}, nil
					}})
			})
			s.tell(&actors.Connect{Epoch: 1, Request: jetstream.Request{Endpoint: e}, Resume: resume, Plan: jetstream.PlanResume(resume), OrArchive: orArchive})
			if n := count[*messages.AppendBatch](s); (n == 0) != orArchive {
				t.Errorf("with an archive: %v; the writer got %d batches", orArchive, n)
			}
			if orArchive {
				if ended := last[*actors.Ended](s); !ended.TooOld || len(pool) != actors.Credits {
					t.Errorf("%+v; %d of %d batches are back", ended, len(pool), actors.Credits)
				}
			}
		})
	}
}
