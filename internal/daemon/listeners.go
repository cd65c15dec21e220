package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"tempestd/internal/config"
	"tempestd/internal/observe"
)

// listeners are where the daemon answers. Each may be nil.
type listeners struct{ http, control, metrics net.Listener }

// listen opens the listeners of a configuration. The store is open: no other daemon has its data_dir,
// so that a control socket that is there is one that was left behind. A daemon without its control
// socket works, and says so.
func (d *daemon) listen(cfg *config.Config) (l listeners, err error) {
	if cfg.HTTP.Listen != "" {
		if l.http, err = net.Listen("tcp", cfg.HTTP.Listen); err != nil {
			return l, permanent(listenError("http.listen", err))
		}
	}
	if cfg.MetricsListen != "" {
		if l.metrics, err = net.Listen("tcp", cfg.MetricsListen); err != nil {
			return l, permanent(listenError("metrics.listen", err))
		}
	}
	if path := cfg.Socket(); path != "" {
		if l.control, err = listenControl(path); err != nil {
			d.observer.Emit(observe.ControlUnavailable, "", "socket", path, "error", err)
		}
	}
	return l, nil
}

// listenControl opens the control socket for root and the user of this process.
func listenControl(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		_ = os.Remove(path) // the error comes from Listen
	}
	old := syscall.Umask(0o177) // nothing else makes files now: no feed runs yet
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	return ln, nil
}

func (l listeners) close() {
	for _, ln := range []net.Listener{l.http, l.control, l.metrics} {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// listenError says why a listener cannot be had.
func listenError(key string, err error) error {
	if errors.Is(err, syscall.EPERM) { // EACCES is for ports below 1024
		return fmt.Errorf("%s: %w: does the unit's SocketBindAllow have this port?", key, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}
