package systemd

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"tempestd/internal/observe"
)

// Notifier reports the state of the daemon to the service manager. It is safe for concurrent use.
type Notifier struct {
	observer *observe.Observer
	failed   sync.Once
}

// New returns a Notifier for the service manager that the environment names. Without one, the
// Notifier does nothing.
func New(o *observe.Observer) *Notifier { return &Notifier{observer: o} }

// Ready reports the end of the start: the store is open and every feed is supervised.
func (n *Notifier) Ready() { n.notify(daemon.SdNotifyReady) }

// Status sets the line that systemctl status shows. Line breaks become spaces.
func (n *Notifier) Status(text string) {
	n.notify("STATUS=" + strings.Join(strings.Fields(text), " "))
}

// Stopping reports the beginning of a graceful stop that may take up to limit.
func (n *Notifier) Stopping(limit time.Duration) {
	n.notify(daemon.SdNotifyStopping + "\n" + extend(limit))
}

// Extend asks for up to limit from now for the current start or stop, in case the unit's own
// timeout is shorter.
func (n *Notifier) Extend(limit time.Duration) { n.notify(extend(limit)) }

func extend(limit time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds())
}

func (n *Notifier) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.failed.Do(func() { n.observer.Emit(observe.SystemdFailed, "", "error", err) })
	}
}
