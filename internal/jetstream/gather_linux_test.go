package jetstream_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/sys/unix"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// A live socket is not read until the batch is due. If it gets events steadily, Run does not even
// wait for the first of them. The events that come meanwhile are read at once and handed over
// together, no later than without the pause.
func TestALiveSocketGathersUntilTheBatchIsDue(t *testing.T) {
	const delay = 5 * time.Millisecond
	lines := make(chan string)
	sent := make(chan struct{})
	req := serveRaw(t, func(c net.Conn) {
		for line := range lines {
			c.Write([]byte(line))
			awaitDelivered(c)
			sent <- struct{}{}
		}
	})
	n := 0
	send := func() {
		lines <- rawText(eventJSON(n))
		n++
		<-sent
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	clock := clockwork.NewFakeClock()
	conn, err := jetstream.Dial(ctx, req, jetstream.DialOptions{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	handed := make(chan int, 10)
	sink := &collector{conn: conn, taken: handed}
	ended := make(chan error)
	go func() {
		_, err := conn.Run(&messages.Batch{}, sink, jetstream.Limits{Events: 100, Bytes: 1 << 20, Delay: delay})
		ended <- err
	}()
	asleep := func() {
		if err := clock.BlockUntilContext(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}

	send() // read as it comes
	asleep()
	send()
	send()
	clock.Advance(delay)
	got := []int{<-handed}
	asleep() // Run pauses without waiting for the fourth event
	send()
	clock.Advance(delay)
	got = append(got, <-handed)
	asleep()
	clock.Advance(delay) // nothing came: Run waits for the next event, or just catches it
	send()
	for len(got) < 3 {
		select {
		case n := <-handed:
			got = append(got, n)
		default:
			clock.Advance(delay)
			runtime.Gosched()
		}
	}
	if want := []int{3, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("batches of %d events, want %d", got, want)
	}

	defer close(lines)
	closed := make(chan struct{})
	go func() { // Run ends after the pause
		defer close(closed)
		conn.CloseNow()
	}()
	for err = nil; err == nil; {
		select {
		case err = <-ended:
		default:
			clock.Advance(delay)
			runtime.Gosched()
		}
	}
	<-closed
	if !errors.Is(err, jetstream.ErrClosed) {
		t.Errorf("the ending is %v", err)
	}
	sink.expect(t, 0, n)
}

// awaitDelivered returns once the other end's system has acknowledged everything that was written,
// so that it can be read there.
func awaitDelivered(c net.Conn) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		panic(err)
	}
	for left := 1; left > 0; runtime.Gosched() {
		if err := errors.Join(err, raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })); err != nil {
			panic(err)
		}
	}
}

// If a socket ends during a pause, Run reads what was sent before, and then the end.
func TestASocketThatEndsWhileItGathersIsReadToItsEnd(t *testing.T) {
	const n = 20
	req := serveRaw(t, func(c net.Conn) {
		for i := range n {
			c.Write([]byte(rawText(eventJSON(i))))
		}
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
	_ = sink.run(jetstream.Limits{Events: 100, Bytes: 1 << 20, Delay: time.Hour})
	sink.expect(t, 0, n)
}

// If a reset comes during a pause, Run reports it, although the system tells it only once, to the
// poll.
func TestAResetThatComesWhileASocketGathersIsTold(t *testing.T) {
	req := serveRaw(t, func(c net.Conn) {
		c.Write([]byte(rawText(eventJSON(0))))
		awaitDelivered(c)
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			panic(err)
		}
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
	if err := sink.run(jetstream.Limits{Events: 100, Bytes: 1 << 20, Delay: 5 * time.Millisecond}); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the ending is %v", err)
	}
	sink.expect(t, 0, 1)
}
