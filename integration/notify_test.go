package integration_test

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd gets notifications of the start, the status, the stop and the watchdog, also while the
// upstream is dead.
func TestSystemdNotify(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// hear waits for a message with a prefix, and counts the watchdog pings before it.
	hear := func(prefix string) (message string, pings int) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("%s does not come: %v", prefix, err)
			}
			message = string(buf[:n])
			if strings.HasPrefix(message, prefix) {
				return message, pings
			}
			if message == "WATCHDOG=1" {
				pings++
			}
		}
	}

	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), nil)
	d.env = []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=2000000"}
	d.start()
	hear("READY=1")
	d.await("feed.live")
	hear("WATCHDOG=1")
	sim.kill()
	d.await("feed.disconnected")
	for range 4 {
		hear("WATCHDOG=1")
	}
	status, pings := hear("STATUS=")
	if !strings.HasPrefix(status, "STATUS="+feed+" ") {
		t.Errorf("said %q", status)
	}
	t.Logf("%d more pings before %q", pings, status)
	hear("WATCHDOG=1")
	d.signal(syscall.SIGHUP)
	hear("RELOADING=1")
	hear("READY=1")
	d.signal(syscall.SIGTERM)
	if stopping, _ := hear("STOPPING=1"); !strings.Contains(stopping, "EXTEND_TIMEOUT_USEC=45000000") {
		t.Errorf("said %q", stopping)
	}
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if failed := d.records("systemd.notify_failed"); len(failed) > 0 {
		t.Error(failed)
	}
}

// A service manager that reads nothing keeps the daemon from nothing. A stop used to wait for it.
func TestNotifySocketThatNobodyReads(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fill, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for err == nil { // until the socket is full
		if err = fill.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err == nil {
			_, err = fill.Write([]byte("STATUS=full"))
		}
	}

	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), nil)
	d.env = []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=2000000"}
	d.start()
	d.await("systemd.notify_failed")
	d.await("feed.live")
	d.signal(syscall.SIGTERM)
	d.await("daemon.stopping")
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
