package integration_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// upstream is a hostile server. It sends good events and resumes correctly from a cursor, but
// applies another attack to every connection. It writes bytes to a socket itself, because a library
// would not permit the attacks.
type upstream struct {
	t        testing.TB
	listener net.Listener
	attacks  []attack
	ended    sync.WaitGroup
	settled  chan struct{} // closed when a good connection has sent everything

	mu     sync.Mutex
	visits int
	conns  []net.Conn
	events []sentEvent // the event at index i has sequence number i+1
	last   int64       // Unix µs of the last good event
}

// sentEvent is an event that was sent. A cursor can ask for it again.
type sentEvent struct {
	frame  []byte
	timeUS int64 // the time at which a cursor finds it
}

// attack is the behaviour on one connection.
type attack struct {
	name    string
	instead func(c net.Conn) // instead of a handshake, after the request was read
	do      func(v *visit)   // after good events were sent
	// fatal: the subscriber must end the connection. Otherwise good events follow, and then a close
	// frame.
	fatal bool
	// refuses: the answer looks final, so the subscriber returns only when its operator asks for
	// that.
	refuses bool
}

// visit is one connection.
type visit struct {
	*upstream
	conn      net.Conn
	answering atomic.Bool // whether pings are answered
	writing   sync.Mutex
	gone      chan struct{} // closed when the subscriber has left
}

// newUpstream starts a server with one connection for each attack, and then one good connection.
func newUpstream(t testing.TB, attacks []attack) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{t: t, listener: l, attacks: attacks, settled: make(chan struct{})}
	u.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			visit := u.visits
			u.visits++
			u.conns = append(u.conns, c)
			u.mu.Unlock()
			u.ended.Go(func() {
				defer c.Close()
				u.serve(c, visit)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		u.mu.Lock()
		for _, c := range u.conns {
			c.Close()
		}
		u.mu.Unlock()
		u.ended.Wait()
	})
	return u
}

func (u *upstream) url() string { return "ws://" + u.listener.Addr().String() + "/subscribe" }

// serve handles one connection.
func (u *upstream) serve(c net.Conn, number int) {
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	a := attack{name: "none", do: func(*visit) {}}
	good := number >= len(u.attacks)
	if !good {
		a = u.attacks[number]
	}
	if a.instead != nil {
		a.instead(c)
		return
	}
	// The accept key: RFC 6455, section 1.3.
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	v := &visit{upstream: u, conn: c, gone: make(chan struct{})}
	v.answering.Store(true)
	next := u.resume(req.URL.Query())
	v.write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"))
	u.ended.Go(func() { v.read(br) })

	u.produce(20)
	next = v.sendFrom(next)
	a.do(v)
	switch {
	case good:
		close(u.settled)
		<-v.gone
	case a.fatal:
		select {
		case <-v.gone:
		case <-time.After(deadline):
			u.t.Errorf("%s: the daemon keeps the connection", a.name)
		}
	default:
		u.produce(20)
		v.sendFrom(next)
		v.bye()
		<-v.gone
	}
}

// resume returns the index of the event that a cursor means, from which on everything is sent. The
// cursor is a sequence number or a time. Without a cursor, and with one in the future, the
// subscription is live.
func (u *upstream) resume(query url.Values) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	cursor, err := strconv.ParseInt(query.Get("cursor"), 10, 64)
	switch {
	case err != nil, cursor < 1e15 && cursor > int64(len(u.events)):
		return len(u.events)
	case cursor < 1e15:
		return int(max(cursor, 1)) - 1
	}
	found := slices.IndexFunc(u.events, func(e sentEvent) bool { return e.timeUS >= cursor })
	if found < 0 {
		return len(u.events)
	}
	return found
}

// produce adds n good events.
func (u *upstream) produce(n int) {
	for range n {
		u.add(func(seq int, timeUS int64) string { return goodEvent(seq, timeUS) })
	}
}

// add adds an event.
func (u *upstream) add(render func(seq int, timeUS int64) string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = max(u.last+1, time.Now().UnixMicro())
	u.events = append(u.events, sentEvent{[]byte(render(len(u.events)+1, u.last)), u.last})
}

// goodEvent returns an event that must be stored.
func goodEvent(seq int, timeUS int64) string {
	return fmt.Sprintf(`{"did":"did:plc:good","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"app.bsky.feed.post","rkey":"k%d","record":{"text":"\u00e9 ok"},"cid":"b"}}`,
		timeUS, seq, seq, seq)
}

// sent returns all events, in order.
func (u *upstream) sent() []sentEvent {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.events)
}

// write writes whole frames, or parts of them. It returns false when the subscriber has left or is
// about to leave.
func (v *visit) write(b []byte) bool {
	v.writing.Lock()
	defer v.writing.Unlock()
	_ = v.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := v.conn.Write(b)
	return err == nil
}

// bye closes the connection as a stopping server does.
func (v *visit) bye() { v.write(websocketFrame(0x88, binary.BigEndian.AppendUint16(nil, 1001))) }

// text sends text messages.
func (v *visit) text(messages ...string) {
	for _, m := range messages {
		v.write(websocketFrame(0x81, []byte(m)))
	}
}

// sendFrom sends the events from index next on and returns the index after the last one.
func (v *visit) sendFrom(next int) int {
	var wire []byte
	events := v.sent()[next:]
	for _, e := range events {
		wire = append(wire, websocketFrame(0x81, e.frame)...)
	}
	v.write(wire)
	return next + len(events)
}

// read reads until the subscriber has left, and answers pings while it should.
func (v *visit) read(br *bufio.Reader) {
	defer close(v.gone)
	for {
		var head [2]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return
		}
		// The body is a mask and a short payload, because a subscriber sends only control frames.
		body := make([]byte, 4+head[1]&0x7f)
		if _, err := io.ReadFull(br, body); err != nil {
			return
		}
		payload := body[4:]
		for i := range payload {
			payload[i] ^= body[i%4]
		}
		if head[0]&0xf == 0x9 && v.answering.Load() {
			v.write(websocketFrame(0x8a, payload))
		}
		if head[0]&0xf == 0x8 && v.answering.Load() {
			v.write(websocketFrame(0x88, payload))
			v.conn.Close()
		}
	}
}

// websocketFrame returns an unmasked frame with the given first byte: the final bit, the reserved
// bits and the opcode.
func websocketFrame(first byte, payload []byte) []byte {
	return append(frameHeader(first, uint64(len(payload))), payload...)
}

// frameHeader returns the header of a frame with a payload of n bytes.
func frameHeader(first byte, n uint64) []byte {
	switch {
	case n < 126:
		return []byte{first, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))
	}
	return binary.BigEndian.AppendUint64([]byte{first, 127}, n)
}

// reset ends a connection with RST.
func reset(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		panic(errors.New("not a TCP connection"))
	}
	_ = tcp.SetLinger(0)
	tcp.Close()
}
