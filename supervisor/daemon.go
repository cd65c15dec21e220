package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// Daemon is the actor tree seen from outside. It is safe for concurrent use.
type Daemon struct {
	opt        Options
	negotiator *jetstream.Negotiator
	store      persistence.Store
	feeds      atomic.Pointer[feeds]
	// changing is held while the feeds are changed. It has room for one.
	changing chan struct{}

	system *actor.ActorSystem
	root   *actor.PID
	checks atomic.Uint64
	failed chan error
	stop   sync.Once
}

// feeds are the feeds of a daemon at one time. They are never changed, only replaced.
type feeds struct {
	cfg   *config.Config
	dicts map[string]dictionaries
}

func (f *feeds) has(name string) bool {
	return slices.ContainsFunc(f.cfg.Feeds, func(fc config.Feed) bool { return fc.Name == name })
}

// Dictionaries returns the zstd dictionaries with which a feed's upstreams compress their messages,
// as far as they are known: the one for v1, which must be configured, and the one that the most
// preferred of the feed's v2 servers gave out. nil stands for none. The caller must not change
// them.
func (d *Daemon) Dictionaries(feed string) (v1, v2 []byte) {
	known := d.feeds.Load().dicts[feed]
	for _, e := range known.upstreams {
		if v2 = known.negotiator.Dictionary(e.Host()); v2 != nil {
			break
		}
	}
	return known.v1, v2
}

func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default: // one reason is enough
	}
}

// Failed delivers the reason when the root gives up. The process should then stop with a non-zero
// code.
func (d *Daemon) Failed() <-chan error { return d.failed }

// Stop stops reading, makes all read events durable, saves the checkpoints and ends the actors. It
// returns when that is done. If ctx ends first, the actors end at once, and events that are not yet
// durable are read again after the next start. A second call returns an error.
func (d *Daemon) Stop(ctx context.Context, reason string) error {
	err := errors.New("already stopped")
	d.stop.Do(func() {
		var reply any
		reply, err = ask(ctx, d.system, d.root, &messages.Stop{Reason: reason})
		if stopped, ok := reply.(*actors.Stopped); ok {
			err = stopped.Err
		}
		done := d.system.Root.StopFuture(d.root)
		if waitErr := done.Wait(); err == nil && waitErr != nil {
			err = fmt.Errorf("the actors did not end: %w", waitErr)
		}
		d.system.Shutdown()
	})
	return err
}

// Healthy sends a message through the whole tree and back. It returns an error if an actor does not
// answer.
func (d *Daemon) Healthy(ctx context.Context) error {
	_, err := ask(ctx, d.system, d.root, &messages.HealthCheck{ID: d.checks.Add(1)})
	return err
}

// Ready says whether the daemon is ready, and gives the reasons if it is not. A ready daemon has a
// store that takes appends, and its feeds run, are not refused and make progress.
func (d *Daemon) Ready(ctx context.Context) messages.Readiness {
	var r messages.Readiness
	switch reply, err := ask(ctx, d.system, d.root, &messages.ReadyQuery{}); {
	case err != nil:
		r.Reasons = append(r.Reasons, "the actors do not answer")
	default:
		r = *reply.(*messages.Readiness)
	}
	if err := d.store.Health(); err != nil {
		r.Reasons = append(r.Reasons, err.Error())
	}
	r.Ready = len(r.Reasons) == 0
	return r
}

// Feeds returns the status of every feed, in the order of their names.
func (d *Daemon) Feeds(ctx context.Context) ([]messages.FeedStatus, error) {
	now := d.feeds.Load().cfg.Feeds
	all := make([]messages.FeedStatus, 0, len(now))
	for _, fc := range now {
		s, err := d.Feed(ctx, fc.Name)
		if errors.Is(err, messages.ErrNoFeed) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Feed returns the status of one feed. The error matches messages.ErrNoFeed if no feed has that
// name.
func (d *Daemon) Feed(ctx context.Context, name string) (messages.FeedStatus, error) {
	reply, err := d.askFeed(ctx, name, &messages.FeedQuery{})
	if err != nil {
		return messages.FeedStatus{}, err
	}
	return *reply.(*messages.FeedStatus), nil
}

// HasFeed says whether a feed has that name.
func (d *Daemon) HasFeed(name string) bool { return d.feeds.Load().has(name) }

// History returns what one feed remembers. The error matches messages.ErrNoFeed if no feed has that
// name.
func (d *Daemon) History(ctx context.Context, name string, q messages.HistoryQuery) (messages.FeedHistory, error) {
	reply, err := d.askFeed(ctx, name, &q)
	if err != nil {
		return messages.FeedHistory{}, err
	}
	return *reply.(*messages.FeedHistory), nil
}

// BlockLost tells the feed of a stream that one of the stream's blocks cannot be read any more.
// first and last are the block's first and last entry; first is zero where it is not known. The
// feed fetches again the events that an upstream still has, and the rest becomes a gap. BlockLost
// returns at once.
func (d *Daemon) BlockLost(stream string, first, last messages.EntryID) {
	if !d.feeds.Load().has(stream) {
		return // no feed reads for it any more
	}
	m := &messages.BlockLost{ToUS: last.TimeUS()}
	if !first.IsZero() {
		m.FromUS = first.TimeUS()
	}
	d.system.Root.Send(actor.NewPID(d.root.Address, d.root.Id+"/"+stream), m)
}

// Reconnect ends the feed's connection, or its wait for the next one. The error matches
// messages.ErrNoFeed if no feed has that name, and messages.ErrNotNow if the feed cannot do it now.
func (d *Daemon) Reconnect(ctx context.Context, feed string) error {
	return d.command(ctx, feed, messages.CommandReconnect)
}

// Pause ends the feed's connection until Resume. Its errors are those of Reconnect.
func (d *Daemon) Pause(ctx context.Context, feed string) error {
	return d.command(ctx, feed, messages.CommandPause)
}

// Resume ends a Pause. Its errors are those of Reconnect.
func (d *Daemon) Resume(ctx context.Context, feed string) error {
	return d.command(ctx, feed, messages.CommandResume)
}

// RepairGap makes the feed fetch the events of a gap now, or, in a dry run, say what that would
// cost. Its errors are those of Reconnect, and messages.ErrNoGap if the feed has no such gap.
func (d *Daemon) RepairGap(ctx context.Context, feed string, c messages.RepairGap) (messages.GapAnswer, error) {
	return d.askAboutGap(ctx, feed, &c)
}

// DismissGap makes the feed give a gap up. Its errors are those of RepairGap.
func (d *Daemon) DismissGap(ctx context.Context, feed string, c messages.DismissGap) (messages.GapAnswer, error) {
	return d.askAboutGap(ctx, feed, &c)
}

func (d *Daemon) askAboutGap(ctx context.Context, feed string, c any) (messages.GapAnswer, error) {
	reply, err := d.askFeed(ctx, feed, c)
	if err != nil {
		return messages.GapAnswer{}, err
	}
	answer := *reply.(*messages.GapAnswer)
	return answer, answer.Err
}

// Close ends a stream for good, whether or not it has a feed. Events that its feed has read but not
// stored do not become part of it, and the feed stops. A second Close changes nothing. The result
// describes the closed stream. The error matches persistence.ErrNoStream if no stream has that
// name.
func (d *Daemon) Close(ctx context.Context, stream, reason string) (persistence.StreamInfo, error) {
	s, err := d.store.Stream(ctx, stream)
	if err != nil {
		return persistence.StreamInfo{}, err
	}
	if err := s.Close(ctx, reason); err != nil {
		return persistence.StreamInfo{}, err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return info, err
	}
	// Without this message the writer would learn of it only with its next batch.
	if pid := d.feed(stream); pid != nil {
		d.system.Root.Send(pid, &messages.StreamClosed{Reason: info.Ended().Error()})
	}
	return info, nil
}

// UpdateFilter makes a running feed use the filter of fc. The error matches messages.ErrNoFeed if
// no feed has the name of fc.
func (d *Daemon) UpdateFilter(ctx context.Context, fc config.Feed) error {
	return d.command(ctx, fc.Name, &filterUpdate{filterOf(fc)})
}

// UpdateFollows tells a feed how its follows stand, for its status. Its error is that of
// UpdateFilter.
func (d *Daemon) UpdateFollows(ctx context.Context, feed string, s messages.FollowStatus) error {
	return d.command(ctx, feed, &followUpdate{s})
}

func (d *Daemon) command(ctx context.Context, feed string, c any) error {
	reply, err := d.askFeed(ctx, feed, c)
	if err != nil {
		return err
	}
	return reply.(*messages.CommandDone).Err
}

func (d *Daemon) askFeed(ctx context.Context, name string, question any) (any, error) {
	for again := true; ; again = false {
		pid := d.feed(name)
		if pid == nil {
			return nil, fmt.Errorf("%w: %.64q", messages.ErrNoFeed, name)
		}
		answer, err := ask(ctx, d.system, pid, question)
		if !again || !errors.Is(err, errNotRunning) {
			return answer, err
		}
		// A change of the configuration may be replacing it.
		if err := d.hold(ctx); err != nil {
			return nil, err
		}
		d.release()
	}
}

// feed is the PID of the feed of that name, nil if there is none.
func (d *Daemon) feed(name string) *actor.PID {
	if !d.feeds.Load().has(name) {
		return nil
	}
	return actor.NewPID(d.root.Address, d.root.Id+"/"+name)
}
