package jetsim_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"tempestd/internal/jetsim"
)

// rawDial upgrades by hand and returns the connection after the server's answer.
func rawDial(t testing.TB, s *jetsim.Sim) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	return rawUpgrade(t, s, "/subscribe", "")
}

// rawUpgrade is rawDial for any target and with additional header lines.
func rawUpgrade(t testing.TB, s *jetsim.Sim, target, headers string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// The key and its answer are the example of RFC 6455.
	const fixed = "Host: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if _, err := io.WriteString(conn, "GET "+target+" HTTP/1.1\r\n"+fixed+headers+"\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); resp.StatusCode != 101 || got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("upgraded with %d %q", resp.StatusCode, got)
	}
	return conn.(*net.TCPConn), r
}

// rawFrame reads one frame of a server and returns its first byte and its payload.
func rawFrame(t testing.TB, r *bufio.Reader) (head byte, payload []byte) {
	t.Helper()
	var h [10]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		t.Fatal(err)
	}
	n := int(h[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(r, h[2:4]); err != nil {
			t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint16(h[2:]))
	case 127:
		if _, err := io.ReadFull(r, h[2:10]); err != nil {
			t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint64(h[2:]))
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return h[0], payload
}

// clientFrame returns a frame as clients send it, with a mask that changes nothing.
func clientFrame(head byte, payload string) []byte {
	b := []byte{head}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

func TestClientCloseIsAnswered(t *testing.T) {
	s := start(t, jetsim.Options{})
	c := subscribe(t, s, "")
	if err := c.conn.Close(websocket.StatusNormalClosure, "enough"); err != nil {
		t.Error(err)
	}
}

func TestClientDataIsIgnoredAndPingsAreAnswered(t *testing.T) {
	s := start(t, jetsim.Options{})
	conn, r := rawDial(t, s)
	for _, b := range [][]byte{
		clientFrame(0x81, `{"type":"whatever"}`),
		clientFrame(0x82, string(make([]byte, 200))),
		clientFrame(0x82, string(make([]byte, 70_000))),
		clientFrame(0x01, `{"type":`), // a message in fragments
		clientFrame(0x80, `"else"}`),
		clientFrame(0x89, "are you there"),
	} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 2+len("are you there"))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x8a\x0dare you there" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestInvalidClientFramesEndTheConnection(t *testing.T) {
	s := start(t, jetsim.Options{})
	for name, b := range map[string][]byte{
		"not masked":           {0x81, 2, 'h', 'i'},
		"reserved bit":         clientFrame(0xc1, "x"),
		"long control frame":   clientFrame(0x89, string(make([]byte, 126))),
		"longer than anything": append([]byte{0x81, 0xff}, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
	} {
		conn, r := rawDial(t, s)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 4)
		want := uint16(1002)
		if name == "longer than anything" {
			want = 1009
		}
		if _, err := io.ReadFull(r, head); err != nil || head[0] != 0x88 || binary.BigEndian.Uint16(head[2:]) != want {
			t.Errorf("%s: answered %x, %v", name, head, err)
		}
	}
}

func FuzzClientFrames(f *testing.F) {
	s := start(f, jetsim.Options{})
	f.Add([]byte{}, false)
	f.Add(clientFrame(0x88, "\x03\xe8bye"), false)
	f.Add(append(clientFrame(0x81, "{}"), clientFrame(0x89, "ping")...), false)
	f.Add([]byte{0x81, 0xfe, 1}, false)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false)
	f.Add(clientFrame(0xc1, "\xaa\xae\x05\x00"), true) // "{}"
	f.Add(clientFrame(0xc1, "\xff"), true)
	f.Add(clientFrame(0xc1, ""), true)
	f.Fuzz(func(t *testing.T, b []byte, deflate bool) {
		headers := ""
		if deflate {
			headers = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
		}
		conn, r := rawUpgrade(t, s, "/subscribe", headers)
		defer conn.Close()
		_, _ = conn.Write(b) // the server may have closed the connection
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, r) // the connection ends, whatever was sent
	})
}
