package integration_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkServed reports what many readers cost at 50 events of 100 KB a second: resident memory,
// the feed's lag and open descriptors, for 300 readers that take pages slowly, for tails with a
// filter of 10 000 accounts each (FILTERED in the environment, or 1000), for 5 000 connections that
// do nothing, and for 40 that seek, with the time that a subscriber at the tip waits beside them.
// BINARY in the environment is another daemon to compare with.
func BenchmarkServed(b *testing.B) {
	filtered, err := strconv.Atoi(cmp.Or(os.Getenv("FILTERED"), "1000"))
	if err != nil {
		b.Fatal(err)
	}
	path := os.Getenv("BINARY")
	if path == "" {
		path = plainBinary(b)
	}
	for b.Loop() {
		sim := simulate(b, 50, "--large-every", "1", "--large-bytes", "100000")
		d := newDaemon(b, sim.url(), settings{"log.level": `"info"`, "feeds." + feed + ".retention.bytes": `"1GiB"`})
		d.binary = path
		d.startLive()
		d.awaitStored(1000)
		s := served{b, d}
		s.report("alone", 3*time.Second)

		var readers []net.Conn
		for range 300 {
			readers = append(readers, s.dial("/v1/streams/"+feed+"/tail?after=0-0&limit=1000"))
		}
		s.report("slow", 8*time.Second)
		s.leave(readers)

		readers = nil
		random := rand.New(rand.NewPCG(1, 2))
		query := "/v1/streams/" + feed + "/tail?block_ms=30000&after=99999999999999-0&dids=" + accountsOf(random, 10_000)
		for range filtered {
			readers = append(readers, s.dial(query))
		}
		s.report("filtered", 8*time.Second)
		s.leave(readers)

		readers = nil
		for range 5000 {
			if conn, err := net.Dial("tcp", d.addr); err == nil {
				readers = append(readers, conn)
				fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
			}
		}
		s.report("idle", 3*time.Second)
		s.leave(readers)

		readers = nil
		for i := range 40 {
			readers = append(readers, s.upgrade(fmt.Sprintf("/v1/streams/%s/subscribe?cursor=%d", feed, 500+i)))
		}
		began := time.Now()
		tip := s.upgrade("/v1/streams/" + feed + "/subscribe")
		if resp, err := http.ReadResponse(bufio.NewReader(tip), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			b.Errorf("a subscriber at the tip was answered %v, %v", resp, err)
		}
		b.ReportMetric(time.Since(began).Seconds()*1000, "ms-tip-beside-seekers")
		s.report("seekers", 3*time.Second)
		s.leave(append(readers, tip))
		d.kill()
		sim.kill()
	}
}

// served measures a daemon.
type served struct {
	b *testing.B
	d *daemon
}

// report reports the most memory and lag within a time, and the descriptors at its end.
func (s served) report(phase string, within time.Duration) {
	memory, lag := 0, 0.0
	for end := time.Now().Add(within); time.Now().Before(end); <-time.After(200 * time.Millisecond) {
		memory = max(memory, s.d.memory("VmRSS"))
		if status, err := s.d.Feed(s.b.Context(), feed); err == nil {
			lag = max(lag, float64(status.LagMS)/1000)
		}
	}
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.d.cmd.Process.Pid))
	s.b.ReportMetric(float64(memory)/1024, "MiB-"+phase)
	s.b.ReportMetric(lag, "s-lag-"+phase)
	s.b.ReportMetric(float64(len(files)), "fds-"+phase)
	s.b.Logf("%s: %d MiB, lag %.1f s, %d descriptors", phase, memory/1024, lag, len(files))
}

// dial sends a request and takes 16 KiB of the answer four times a second.
func (s served) dial(path string) net.Conn {
	s.b.Helper()
	conn, err := net.Dial("tcp", s.d.addr)
	if err != nil {
		s.b.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		s.b.Logf("a request was not taken: %v", err)
	}
	go func() {
		for buf := make([]byte, 16<<10); ; <-time.After(250 * time.Millisecond) {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	return conn
}

func (s served) upgrade(path string) net.Conn {
	s.b.Helper()
	conn, err := net.Dial("tcp", s.d.addr)
	if err != nil {
		s.b.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", path)
	return conn
}

func (s served) leave(readers []net.Conn) {
	for _, conn := range readers {
		_ = conn.Close()
	}
	<-time.After(time.Second)
}

// accountsOf returns n drawn accounts, as a parameter's value.
func accountsOf(random *rand.Rand, n int) string {
	all := make([]string, n)
	for i := range all {
		id := make([]byte, 24)
		for k := range id {
			id[k] = "abcdefghijklmnopqrstuvwxyz234567"[random.IntN(32)]
		}
		all[i] = "did:plc:" + string(id)
	}
	return url.QueryEscape(strings.Join(all, ","))
}
