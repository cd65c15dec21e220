package systemd

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"tempestd/internal/observe"
)

// Notifier tells the service manager how the daemon is. It is safe for concurrent use.
type Notifier struct {
	observer *observe.Observer
	failed   sync.Once
}

// New gives a notifier of the service manager that the environment names, if it names one.
func New(o *observe.Observer) *Notifier { return &Notifier{observer: o} }

// Ready says that the start is over: the store is open and every feed is supervised.
func (n *Notifier) Ready() { n.notify(daemon.SdNotifyReady) }

// Status sets the line that systemctl status shows. Line breaks become spaces.
func (n *Notifier) Status(text string) {
	n.notify("STATUS=" + strings.Join(strings.Fields(text), " "))
}

// Stopping says that a graceful stop began, which may take up to limit.
func (n *Notifier) Stopping(limit time.Duration) {
	n.notify(daemon.SdNotifyStopping + "\n" + extend(limit))
}

// Extend asks for up to limit from now for the start or the stop that is going on, should the unit's own timeout be shorter.
func (n *Notifier) Extend(limit time.Duration) { n.notify(extend(limit)) }

func extend(limit time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds())
}

func (n *Notifier) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.failed.Do(func() { n.observer.Emit(observe.SystemdFailed, "", "error", err) })
	}
}
