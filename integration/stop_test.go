package integration_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"tempestd/messages"
)

func TestGracefulStop(t *testing.T) {
	t.Run("under load", testStopUnderLoad)
	t.Run("stores what was read", testStopStoresWhatWasRead)
	t.Run("on a full disk", testStopOnAFullDisk)
	t.Run("is bounded", testStopIsBounded)
	t.Run("second signal", testSecondSignal)
}

func testStopUnderLoad(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), nil)
	for range 3 {
		d.startLive()
		d.awaitStored(500)
		d.stop()
		d.await("daemon.stopping", "reason", "signal: terminated")
		d.await("feed.stopped")
		d.await("daemon.stopped")
		if saved := d.records("cursor.saved", "cause", "stop"); len(saved) != 1 {
			t.Errorf("the checkpoint was saved %d times at the stop", len(saved))
		}
	}
	d.startLive()
	d.exact(sim) // there is no gap entry either
}

// A stop stores the events that were read and wait for their batch to fill.
func testStopStoresWhatWasRead(t *testing.T) {
	t.Parallel()
	const events = 1000
	sim := simulate(t, 1)
	d := newDaemon(t, sim.url(), settings{"feeds." + feed + ".batch_delay": `"10s"`})
	d.startLive() // some events may come before that
	sim.produce(events)
	sim.stopProducing()
	eventually(t, "all was sent", func() bool { return sim.stats().Frames >= events })
	eventually(t, "all was read", func() bool { // the daemon updates it once per second
		last := d.status().LastFrameAt
		return last != nil && time.Since(*last) > 5*time.Second // of the 10 s that a batch may wait
	})
	sent := sim.stats()
	d.stop()
	saved := d.await("cursor.saved", "cause", "stop")

	// Without the upstream, all entries come from before the stop.
	d.configure(settings{"feeds." + feed + ".endpoints": `["ws://` + freeAddr(t) + `"]`})
	d.start()
	d.await("daemon.ready")
	info := d.info()
	if info.Entries < events || info.Entries != sent.Frames {
		t.Errorf("%d entries of %d", info.Entries, sent.Frames)
	}
	if saved.text("last_id") != info.Newest.String() || int64(saved.number("seq")) != sent.NewestSeq {
		t.Errorf("saved %v, want %v at seq %d", saved, info.Newest, sent.NewestSeq)
	}
}

// A stop does not wait for space on a full disk. The events that it could not store are read again.
func testStopOnAFullDisk(t *testing.T) {
	disk, sim := newBallast(t), simulate(t, 1000)
	d := newDaemon(t, sim.url(), nil)
	d.configure(settings{"stream.min_free": disk.minFree})
	d.startLive()
	d.awaitStored(1)
	disk.load()
	d.await("feed.backpressured")
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	d.await("append.given_up")
	d.await("daemon.stopped")
	disk.drop()
	d.startLive()
	d.exact(sim)
}

// A stop that a request delays still ends in time, and reports failure.
func testStopIsBounded(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1000)
	d := newDaemon(t, sim.url(), settings{"shutdown_timeout": `"1s"`})
	d.startLive()
	d.awaitStored(1)
	d.holdUp()
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	d.await("daemon.failed")
	d.startLive()
	d.exact(sim)
}

// A second signal ends a delayed stop at once.
func testSecondSignal(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1000)
	d := newDaemon(t, sim.url(), nil)
	for _, tt := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}} {
		d.startLive()
		d.awaitStored(1)
		d.holdUp()
		d.signal(syscall.SIGTERM)
		d.await("daemon.stopping")
		d.signal(tt.signal)
		if code := d.wait(); code != tt.code {
			t.Errorf("%v after SIGTERM: exit code %d, want %d", tt.signal, code, tt.code)
		}
	}
	d.startLive()
	d.exact(sim)
}

// holdUp begins a request whose body does not arrive. A stop waits 5 s for it.
func (d *daemon) holdUp() {
	d.t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "PUT /v1/streams/%s/consumers/slow HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", feed, d.addr)
	// The server asks for the body when the handler waits for it.
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		d.t.Fatalf("answered %q, %v", line, err)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 10)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	other := newDaemon(t, sim.url(), settings{"data_dir": quoted(d.data)})
	other.start()
	if code := other.wait(); code != 69 { // which the unit does not restart
		t.Errorf("exit code %d", code)
	}
	var errors []string
	for _, line := range other.log.all() {
		if !strings.HasPrefix(line, "{") {
			errors = append(errors, line)
		}
	}
	if len(errors) != 1 || !strings.Contains(errors[0], d.data) || !strings.Contains(errors[0], "another process") {
		t.Errorf("said %q", errors)
	}
	if state := d.status().State; state != messages.StateLive {
		t.Errorf("the first is %s", state)
	}
}
