package integration_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// link is between a daemon and its upstream, and cuts the connections through it.
type link struct {
	listener net.Listener
	ended    sync.WaitGroup

	mu     sync.Mutex
	target string
	rule   cut
	conns  map[net.Conn]bool

	passed      atomic.Int64 // bytes of websockets sent to the daemon
	connections atomic.Int64 // number of websockets
}

// cut says when a connection ends. The zero cut never ends one.
type cut struct {
	bytes    int64 // after this many bytes, at any point
	messages int   // after this many messages
	within   bool  // and half of the next message
}

func newLink(t testing.TB, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{target: target, listener: l, conns: map[net.Conn]bool{}}
	k.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			k.ended.Go(func() { k.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		k.cutNow()
		k.ended.Wait()
	})
	return k
}

func (k *link) url(path string) string { return "ws://" + k.listener.Addr().String() + path }

// cuts sets the rule for new connections and ends the current ones.
func (k *link) cuts(rule cut) {
	k.mu.Lock()
	k.rule = rule
	k.mu.Unlock()
	k.cutNow()
}

// leadTo leads new connections to another server and ends the current ones.
func (k *link) leadTo(target string) {
	k.mu.Lock()
	k.target = target
	k.mu.Unlock()
	k.cutNow()
}

func (k *link) cutNow() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		c.Close()
	}
}

// hold adds or removes a connection, and returns the current target and rule.
func (k *link) hold(c net.Conn, open bool) (target string, rule cut) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if open {
		k.conns[c] = true
	} else {
		delete(k.conns, c)
	}
	return k.target, k.rule
}

func (k *link) serve(client net.Conn) {
	defer client.Close()
	target, rule := k.hold(client, true)
	defer k.hold(client, false)
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	k.ended.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	answer := bufio.NewReader(server)
	resp, err := http.ReadResponse(answer, nil)
	if err != nil {
		return
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Close = true
		_ = resp.Write(limitedWriter{client, &rule.bytes})
		return
	}
	k.connections.Add(1)
	if resp.Write(client) != nil {
		return
	}
	_, _ = io.Copy(limitedWriter{countedWriter{client, &k.passed}, &rule.bytes}, &messagesOf{r: answer, rule: rule})
}

// countedWriter counts the bytes that are written.
type countedWriter struct {
	io.Writer
	n *atomic.Int64
}

func (w countedWriter) Write(b []byte) (int, error) {
	w.n.Add(int64(len(b)))
	return w.Writer.Write(b)
}

// limitedWriter fails after left bytes. If left is 0 at the beginning, there is no limit.
type limitedWriter struct {
	io.Writer
	left *int64
}

func (w limitedWriter) Write(b []byte) (int, error) {
	if *w.left == 0 {
		return w.Writer.Write(b)
	}
	if *w.left < 0 {
		return 0, io.ErrShortWrite
	}
	n := min(int64(len(b)), *w.left)
	if _, err := w.Writer.Write(b[:n]); err != nil {
		return 0, err
	}
	if *w.left -= n; *w.left == 0 {
		*w.left = -1
	}
	if *w.left < 0 {
		return int(n), io.ErrShortWrite
	}
	return int(n), nil
}

// messagesOf reads whole websocket frames of a server, up to the end that the rule sets.
type messagesOf struct {
	r    *bufio.Reader
	rule cut
	n    int
	rest []byte
	err  error
}

func (m *messagesOf) Read(b []byte) (int, error) {
	if m.rule.messages == 0 && !m.rule.within {
		return m.r.Read(b)
	}
	if len(m.rest) == 0 && m.err == nil {
		m.rest, m.err = m.frame()
	}
	n := copy(b, m.rest)
	if m.rest = m.rest[n:]; len(m.rest) > 0 {
		return n, nil
	}
	return n, m.err
}

func (m *messagesOf) frame() ([]byte, error) {
	head := make([]byte, 2, 10)
	if _, err := io.ReadFull(m.r, head); err != nil {
		return nil, err
	}
	length := uint64(head[1] & 0x7f)
	if more := map[uint64]int{126: 2, 127: 8}[length]; more > 0 {
		head = head[:2+more]
		if _, err := io.ReadFull(m.r, head[2:]); err != nil {
			return nil, err
		}
		if length = uint64(binary.BigEndian.Uint16(head[2:])); more == 8 {
			length = binary.BigEndian.Uint64(head[2:])
		}
	}
	frame := append(head, make([]byte, length)...)
	if _, err := io.ReadFull(m.r, frame[len(head):]); err != nil {
		return nil, err
	}
	if head[0]&0xf > 2 { // control frames do not count as messages
		return frame, nil
	}
	m.n++
	switch {
	case m.n == m.rule.messages && !m.rule.within:
		return frame, io.EOF
	case m.n > m.rule.messages:
		return frame[:len(frame)/2], io.EOF
	}
	return frame, nil
}
