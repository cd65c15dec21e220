package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
)

// Notifier reports the state of the daemon to the service manager. It is safe for concurrent use.
// No method waits for the service manager to read.
type Notifier struct {
	observer *observe.Observer
	failed   sync.Once

	mu sync.Mutex
	// unsent has the changes of state that the socket had no room for, oldest first. Each later
	// notification tries them again.
	unsent []string
}

// New returns a Notifier for the service manager that the environment names. Without one, the
// Notifier does nothing.
func New(o *observe.Observer) *Notifier { return &Notifier{observer: o} }

// Ready reports the end of the start: the store is open and every feed is supervised. It also
// reports the end of a reload.
func (n *Notifier) Ready() { n.changed(daemon.SdNotifyReady) }

// Reloading reports the beginning of a reload. A call of Ready must follow.
func (n *Notifier) Reloading() { n.changed(daemon.SdNotifyReloading) }

// Stopping reports the beginning of a graceful stop that may take up to limit.
func (n *Notifier) Stopping(limit time.Duration) {
	n.changed(daemon.SdNotifyStopping + "\n" + extend(limit))
}

// Status sets the line that systemctl status shows. Line breaks become spaces.
func (n *Notifier) Status(text string) {
	n.notify("STATUS=" + strings.Join(strings.Fields(text), " "))
}

// The daemon asks for extendBy every extendEvery while something long goes on.
const (
	extendBy    = time.Minute
	extendEvery = 15 * time.Second
)

// Extend asks for more time for the current start, again and again until ctx ends, or until it has
// asked for most in all: a recovery that takes longer counts as hanging.
func (n *Notifier) Extend(ctx context.Context, clock clockwork.Clock, most time.Duration) {
	ticker := clock.NewTicker(extendEvery)
	defer ticker.Stop()
	for began := clock.Now(); clock.Since(began) < most-extendBy; {
		n.notify(extend(extendBy))
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
		}
	}
}

func extend(limit time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds())
}

// notify sends a message that a later one replaces. It is lost if the socket is full.
func (n *Notifier) notify(message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.resend() {
		_ = n.send(message)
	}
}

// changed sends a change of state, or keeps it for later if the socket is full.
func (n *Notifier) changed(state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.resend() && !errors.Is(n.send(state), syscall.EAGAIN) {
		return
	}
	if last := len(n.unsent) - 1; last < 0 || n.unsent[last] != state {
		n.unsent = append(n.unsent, state)
	}
	// What came before the last three is history: RELOADING, READY and STOPPING are all there are.
	n.unsent = n.unsent[max(len(n.unsent)-3, 0):]
}

// resend sends what the socket had no room for. It returns false if there still is none.
func (n *Notifier) resend() bool {
	for len(n.unsent) > 0 {
		if errors.Is(n.send(n.unsent[0]), syscall.EAGAIN) {
			return false
		}
		n.unsent = n.unsent[1:]
	}
	return true
}

func (n *Notifier) send(message string) error {
	err := send(message)
	if err != nil {
		n.failed.Do(func() { n.observer.Emit(observe.SystemdFailed, "", "error", err) })
	}
	return err
}
