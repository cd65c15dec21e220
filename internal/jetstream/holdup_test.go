package jetstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/jetstream"
)

// framed returns a message on the wire, as text or compressed.
func framed(opcode byte, payload string) string {
	return string([]byte{opcode, 126, byte(len(payload) >> 8), byte(len(payload))}) + payload
}

// Complete events are handed over when they are due, even if the server holds back the rest of the
// next message.
func TestCompleteEventsDoNotWaitForAnIncompleteOne(t *testing.T) {
	const delay = 25 * time.Millisecond
	dict := newDictionary(t, v1DictionaryID)
	// Before the bubble, because an encoder belongs to the bubble in which it was made.
	packed := map[string]string{}
	for i, encoder := 1, newEncoder(t, dict); i <= 4; i++ {
		packed[eventJSON(i)] = string(encoder.EncodeAll([]byte(eventJSON(i)), nil))
	}
	plain := func(text string) string { return framed(0x81, text) }
	for _, c := range []struct {
		name  string
		req   jetstream.Request
		event func(int) string
		frame func(string) string
	}{
		{"v1", jetstream.Request{Compress: jetstream.CompressOff}, eventJSON, plain},
		{"v2", jetstream.Request{Protocol: jetstream.ProtocolV2}, v2JSON, plain},
		{"v2/raw", jetstream.Request{Protocol: jetstream.ProtocolV2, Raw: true}, v2JSON, plain},
		{"v1/zstd", jetstream.Request{Compress: jetstream.CompressZstd}, eventJSON, func(text string) string { return framed(0x82, packed[text]) }},
	} {
		// With slow, the sink takes each batch a minute after it is due.
		for _, slow := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: "/slow sink"}[slow], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					third := c.frame(c.event(3))
					for _, cut := range []int{1, 3, 4, 5, 50, len(third) - 1} {
						conn := pipeRequest(t, c.req, jetstream.DialOptions{V1Dictionary: dict}, func(s net.Conn) {
							io.WriteString(s, c.frame(c.event(1))+c.frame(c.event(2))+third[:cut])
							<-time.After(time.Hour)
							io.WriteString(s, third[cut:]+c.frame(c.event(4))+third[:cut])
							<-time.After(time.Hour)
							io.WriteString(s, third[cut:])
						})
						taken := make(chan int, 10)
						sink := &collector{conn: conn, taken: taken}
						if slow {
							sink.free = make(chan struct{})
							time.AfterFunc(time.Minute, func() { close(sink.free) })
						}
						ended := make(chan error)
						start := time.Now()
						go func() { ended <- sink.run(jetstream.Limits{Events: 100, Bytes: 1 << 20, Delay: delay}) }()
						for round, want := range []time.Duration{delay, time.Hour + delay} {
							if slow && round == 0 {
								want = time.Minute
							}
							if got := <-taken; got != 2 {
								t.Errorf("cut at %d, round %d: a batch of %d, want 2", cut, round, got)
							}
							if took := time.Since(start); took < want || took > want+delay {
								t.Errorf("cut at %d, round %d: after %v, want %v", cut, round, took, want)
							}
						}
						if end := jetstream.Classify(<-ended); end.Cause != jetstream.CauseEOF {
							t.Errorf("cut at %d: the ending is %+v", cut, end)
						}
						want := []string{c.event(1), c.event(2), c.event(3), c.event(4), c.event(3)}
						for i := range want {
							if c.req.Protocol == jetstream.ProtocolV2 && !c.req.Raw {
								want[i], _ = unwrap(t, want[i])
							}
						}
						if strings.Join(sink.events, "\n") != strings.Join(want, "\n") {
							t.Errorf("cut at %d: got\n%s", cut, strings.Join(sink.events, "\n"))
						}
					}
				})
			})
		}
	}
}

// pipeRequest makes a connection over a pipe. The server sends what send writes, and closes.
func pipeRequest(t testing.TB, req jetstream.Request, opt jetstream.DialOptions, send func(net.Conn)) *jetstream.Conn {
	t.Helper()
	opt.DialContext = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			r := bufio.NewReader(server)
			asked, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			answer(server, asked)
			drained := make(chan struct{})
			go func() { io.Copy(io.Discard, r); close(drained) }()
			send(server)
			server.Close()
			<-drained
		}()
		return client, nil
	}
	req.Endpoint = endpoint(t, "ws://pipe")
	return dial(t, req, opt)
}

// TestCloseUnderAFloodIsQuick checks that Close does not read what the server still sends in order
// to find the server's answer.
func TestCloseUnderAFloodIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var after int
		sent := make(chan struct{})
		flood := rawText(eventJSON(1))
		var closing bool
		conn := pipeRequest(t, jetstream.Request{}, jetstream.DialOptions{}, func(s net.Conn) {
			defer close(sent)
			for {
				if _, err := io.WriteString(s, flood); err != nil {
					return
				}
				if closing {
					after++
				}
				<-time.After(time.Millisecond)
			}
		})
		sink := &collector{conn: conn}
		ended := make(chan error)
		go func() { ended <- sink.run(jetstream.Limits{Events: 100, Bytes: 1 << 20}) }()
		<-time.After(time.Second)
		synctest.Wait()
		closing = true
		start := time.Now()
		if err := conn.Close(jetstream.CloseNormal, ""); err != nil {
			t.Error(err)
		}
		err := <-ended
		<-sent
		if took := time.Since(start); took > 2*time.Millisecond || after > 1 {
			t.Errorf("it took %v and %d frames more", took, after)
		}
		if !errors.Is(err, jetstream.ErrClosed) {
			t.Errorf("Run ended with %v", err)
		}
	})
}
