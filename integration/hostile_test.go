package integration_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// attacks returns one attack of every kind.
func attacks() []attack {
	raw := func(name string, b ...byte) attack {
		return attack{name: name, fatal: true, do: func(v *visit) { v.write(b) }}
	}
	texts := func(name string, messages ...string) attack {
		return attack{name: name, do: func(v *visit) { v.text(messages...) }}
	}
	instead := func(name, answer string) attack {
		return attack{name: name, instead: func(c net.Conn) { _, _ = c.Write([]byte(answer)) }}
	}
	nothing := attack{name: "nothing", do: func(*visit) {}}
	deep := strings.Repeat("[", 400_000)
	good := goodEvent(7, 1_700_000_000_000_000)
	return []attack{
		texts("no events", "", " ", "upstream connect error", "null", "[]", "{}", `""`, "{", good[:len(good)/2], good[:len(good)-1], good+"}", good+good,
			strings.ReplaceAll(good, ":", ":\x00"), `{"did":42,"time_us":"soon","kind":["commit"],"commit":{"rev":null}}`, strings.Replace(good, "commit", "gap", 1)),
		texts("invalid UTF-8", strings.Replace(good, "did:plc:good", "did:plc:\xff\xc0", 1), strings.Replace(good, " ok", "\xed\xa0\x80", 1), "\xef\xbb\xbf"+good),
		texts("deep nesting", deep, deep+strings.Repeat("]", 400_000), strings.Replace(good, `"b"`, deep+strings.Repeat("]", 400_000), 1),
			strings.Repeat(`{"commit":`, 60_000), strings.Repeat(`{"a":[`, 60_000)),
		texts("wrong times", wrongTimes(good)...),
		{name: "binary frames", do: func(v *visit) {
			v.write(websocketFrame(0x82, []byte(good)))
			v.write(websocketFrame(0x82, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xde, 0xad, 0xbe, 0xef}))
		}},
		odd("a time in the far future", func(seq int, _ int64) (int64, int64) { return int64(seq), 999_999_999_999_999_998 }),
		odd("a sequence number in the far future", func(_ int, timeUS int64) (int64, int64) { return 999_999_999_999_999, timeUS }),
		odd("a time of long ago", func(seq int, _ int64) (int64, int64) { return int64(seq), 1 }),
		last(odd("a time in the far future at last", func(seq int, _ int64) (int64, int64) { return int64(seq), 999_999_999_999_999_998 })),
		nothing,
		last(odd("a sequence number in the far future at last", func(_ int, timeUS int64) (int64, int64) { return 999_999_999_999_999, timeUS })),
		nothing,
		last(odd("a time of long ago at last", func(seq int, _ int64) (int64, int64) { return int64(seq), 1 })),
		nothing,
		{name: "a flood of pings", do: func(v *visit) {
			v.write(bytes.Repeat(websocketFrame(0x89, bytes.Repeat([]byte("p"), 125)), 2000))
		}},
		{name: "a masked frame", do: func(v *visit) { v.write([]byte{0x81, 0x81, 1, 2, 3, 4, '['}) }},
		{name: "an event in single bytes", do: func(v *visit) {
			v.produce(1)
			events := v.sent()
			frame := events[len(events)-1].frame
			wire := websocketFrame(0x01, nil)
			for _, b := range frame {
				wire = append(wire, websocketFrame(0x00, []byte{b})...)
				wire = append(wire, websocketFrame(0x89, nil)...)
			}
			v.write(append(wire, websocketFrame(0x80, nil)...))
		}},

		{name: "a huge frame", do: func(v *visit) { // the daemon discards it
			v.write(append(frameHeader(0x81, 32<<20), bytes.Repeat([]byte("["), 32<<20)...))
		}},
		{name: "a frame of 2^62 bytes", fatal: true, do: func(v *visit) {
			v.write(frameHeader(0x81, 1<<62))
			for v.write(bytes.Repeat([]byte("["), 64<<10)) {
			}
		}},
		raw("a frame of a negative length", 0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		{name: "endless fragments", fatal: true, do: func(v *visit) {
			part := websocketFrame(0x00, bytes.Repeat([]byte("["), 16<<10))
			v.write(websocketFrame(0x01, []byte("[")))
			for v.write(part) {
			}
		}},
		{name: "endless empty fragments", fatal: true, do: func(v *visit) {
			v.answering.Store(false)
			part := bytes.Repeat(websocketFrame(0x00, nil), 1000)
			v.write(websocketFrame(0x01, nil))
			v.forAsLong(func() bool { return v.write(part) })
		}},
		{name: "a dribble", fatal: true, do: func(v *visit) {
			v.answering.Store(false)
			v.write(frameHeader(0x81, 60_000))
			v.forAsLong(func() bool { return v.write([]byte("[")) })
		}},
		{name: "silence", fatal: true, do: func(v *visit) { v.answering.Store(false) }},
		raw("reserved bits", 0xf1, 1, '['),
		raw("an unknown opcode", 0x83, 1, '['),
		raw("a ping in fragments", 0x09, 1, 'p'),
		raw("a long ping", append([]byte{0x89, 126, 1, 0}, bytes.Repeat([]byte("p"), 256)...)...),
		raw("a continuation of nothing", 0x80, 1, '['),
		raw("a message within a message", 0x01, 1, '[', 0x81, 1, '['),
		raw("a close frame of one byte", 0x88, 1, 3),
		raw("a close code that is none", 0x88, 2, 0, 1),
		{name: "the end of the stream", fatal: true, do: func(v *visit) { v.conn.Close() }},
		{name: "the end within a frame", fatal: true, do: func(v *visit) {
			v.write(websocketFrame(0x81, []byte(good))[:100])
			v.conn.Close()
		}},
		{name: "a reset", fatal: true, do: func(v *visit) { reset(v.conn) }},

		{name: "no answer", instead: func(net.Conn) {}},
		{name: "a reset instead of an answer", instead: reset},
		instead("noise", "\x00\xff\x16\x03\x01 SSH-2.0"),
		instead("a wrong accept", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"),
		instead("a huge header", "HTTP/1.1 101 Switching Protocols\r\nX: "+strings.Repeat("x", 8<<20)+"\r\n\r\n"),
		instead("an error with an absurd wish", "HTTP/1.1 503 \x1b[31mno\r\nRetry-After: -1\r\nContent-Length: 9999999\r\n\r\n"+strings.Repeat("\x1b[2J", 10_000)),
		{name: "a page", refuses: true, instead: func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"))
			for err := error(nil); err == nil; { // the body has no end
				_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
				_, err = c.Write(bytes.Repeat([]byte("<p>"), 10_000))
			}
		}},
		{name: "another place", refuses: true, instead: func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
		}},
	}
}

// wrongTimes returns the event with every kind of invalid time.
func wrongTimes(good string) (all []string) {
	for _, t := range []string{"0", "-1", "-1700000000000000", "1.7e15", "1e400", "9223372036854775808", "99999999999999999999999", `"1700000000000000"`, "null", "[1]", "true", "01", "+1", "1_0"} {
		all = append(all, strings.Replace(good, `"time_us":1700000000000000`, `"time_us":`+t, 1))
	}
	return all
}

// odd sends a well-formed event with a misleading sequence number and time. The event is stored
// once.
func odd(name string, seqAndTime func(seq int, timeUS int64) (int64, int64)) attack {
	return attack{name: name, do: func(v *visit) {
		v.add(func(seq int, timeUS int64) string {
			shownSeq, shownTime := seqAndTime(seq, timeUS)
			return fmt.Sprintf(`{"did":"did:plc:odd%d","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"o%d","operation":"delete","collection":"app.bsky.feed.post","rkey":"k"}}`,
				seq, shownTime, shownSeq, seq)
		})
		v.sendFrom(len(v.sent()) - 1)
	}}
}

// last returns the attack without good events after it, so that the next connection resumes from
// the attack's event.
func last(a attack) attack {
	do := a.do
	a.fatal = true
	a.do = func(v *visit) {
		do(v)
		v.bye()
	}
	return a
}

// forAsLong writes slowly until the subscriber has left.
func (v *visit) forAsLong(write func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for write() {
		select {
		case <-v.gone:
			return
		case <-tick.C:
		}
	}
}

// Whatever an upstream sends, the daemon continues in bounded memory. Its position never goes back,
// and it stores the good events once and in order.
func TestI7_HostileUpstream(t *testing.T) {
	t.Parallel()
	all := attacks()
	u := newUpstream(t, all)
	d := newDaemon(t, u.url(), settings{"feeds." + feed + ".max_message_size": `"1MiB"`, "feeds." + feed + ".ping_interval": `"6s"`})
	d.startLive()
	position := int64(0)
	for _, a := range all {
		var end record
		if a.refuses {
			end = d.await("feed.failed")
			if err := d.Reconnect(t.Context(), feed); err != nil {
				t.Fatal(err)
			}
		} else {
			end = d.await("feed.disconnected")
		}
		t.Logf("%s: %.100s", a.name, end.text("reason"))
		now := d.status().Position.TimeUS
		if now < position {
			t.Errorf("%s: the position goes back from %d to %d", a.name, position, now)
		}
		position = now
	}
	<-u.settled
	eventually(t, "all is stored", func() bool { return d.status().Position.Seq == int64(len(u.sent())) })

	most := 200 << 10 // KiB
	if raceEnabled {
		most *= 4
	}
	if peak := d.memory("VmHWM"); peak > most {
		t.Errorf("the daemon took %d MiB", peak>>10)
	} else {
		t.Logf("the daemon took %d MiB at most", peak>>10)
	}
	if status := d.status(); status.Restarts > 0 || status.Gaps > 0 || status.Bad < 40 {
		t.Errorf("%d restarts, %d gaps, %d bad frames", status.Restarts, status.Gaps, status.Bad)
	}
	compare(t, d, u.sent())
}

// compare compares the stream with what was sent, byte by byte.
func compare(t *testing.T, d *daemon, sent []sentEvent) {
	t.Helper()
	i := 0
	for entry, err := range d.entries() {
		if err != nil {
			t.Fatal(err)
		}
		if i == len(sent) {
			t.Fatalf("entry %d is one too many: %s", i, entry)
		}
		if !bytes.Equal(entry, sent[i].frame) {
			t.Fatalf("entry %d is\n%s\nwant\n%s", i, entry, sent[i].frame)
		}
		i++
	}
	if i != len(sent) {
		t.Errorf("%d entries of %d", i, len(sent))
	}
	t.Logf("%d events", i)
}
