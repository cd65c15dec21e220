package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"tempestd/internal/jetsim"
)

// simulator is a process of tempestd simulate. Its address and history stay the same when it is
// started again.
type simulator struct {
	*process
	t       testing.TB
	addr    string
	history string
	args    []string
}

// simulate starts a simulator with a rate in events per second. With the race detector, which makes
// each event expensive, a high rate is halved.
func simulate(t testing.TB, rate int, args ...string) *simulator {
	t.Helper()
	s := &simulator{t: t, addr: freeAddr(t), history: filepath.Join(t.TempDir(), "history")}
	s.args = append([]string{"simulate", "--listen", s.addr, "--rate", fmt.Sprint(affordable(rate)), "--history", s.history}, args...)
	s.restart()
	return s
}

// affordable returns the rate at which a network produces.
func affordable(rate int) int {
	if raceEnabled && rate >= 500 {
		return rate / 2
	}
	return rate
}

// restart starts the simulator again after a kill.
func (s *simulator) restart() {
	s.t.Helper()
	s.process = startBinary(s.t, plain, nil, s.args...)
	s.awaitLine("its address", func(line string) bool { return strings.HasPrefix(line, "simulating ") })
}

// url returns the v1 endpoint.
func (s *simulator) url() string { return "ws://" + s.addr + "/subscribe" }

// control sends a request to the control endpoint.
func (s *simulator) control(method, path string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.addr+"/_sim/"+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(http.DefaultClient.CloseIdleConnections)
	if resp.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
	return resp
}

func (s *simulator) stats() (stats jetsim.Stats) {
	s.t.Helper()
	resp := s.control(http.MethodGet, "stats")
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		s.t.Fatal(err)
	}
	return stats
}

// inject injects a fault, as in "close" and "stall:10s".
func (s *simulator) inject(fault string) {
	s.t.Helper()
	s.control(http.MethodPost, "fault/"+fault).Body.Close()
}

// produce produces n events at once.
func (s *simulator) produce(n int) {
	s.t.Helper()
	s.control(http.MethodPost, fmt.Sprintf("produce/%d", n)).Body.Close()
}

// produceAll is produce for any number of events.
func (s *simulator) produceAll(n int) {
	s.t.Helper()
	for ; n > 0; n -= 1_000_000 {
		s.produce(min(n, 1_000_000))
	}
}

// sealAll has the simulator build the segments of its archive, which it otherwise does when they are
// first asked for.
func (s *simulator) sealAll() {
	s.t.Helper()
	resp, err := http.Post("http://"+s.addr+"/xrpc/network.bsky.jetstream.planSnapshot", "application/json", strings.NewReader("{}"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatal(resp.Status, err)
	}
}

// stopProducing ends the flow of events, so that a feed can catch up.
func (s *simulator) stopProducing() {
	s.t.Helper()
	s.control(http.MethodPost, "stop-producing").Body.Close()
}

// sent returns the history of what the simulator has sent.
func (s *simulator) sent() *jetsim.History {
	s.t.Helper()
	h, err := jetsim.OpenHistory(s.history)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}
