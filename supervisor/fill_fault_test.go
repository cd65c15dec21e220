package supervisor_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// fillFault is what becomes of a feed that begins with history while its archive, or the socket behind
// it, has a fault.
type fillFault struct {
	name   string
	faults []string                              // of the simulator
	on     func(a *archived, call string, n int) // before the n-th call of the archive
	start  config.Start                          // with the archive if nil
	forget int                                   // the socket begins with this number

	status string        // part of what the status says meanwhile, as in "state: reason"; "" for anything
	fill   string        // the same of its part about the history
	after  time.Duration // when it is live, at the earliest; 20 min later at the latest
	stored int64         // 700 if 0, besides the live ones; differs where an instance's events are another's
	gap    bool          // it is live behind a gap entry
}

var fillFaults = []fillFault{
	{name: "none"},
	{name: "the socket does not go back so far", faults: []string{jetsim.FaultCursorTooOld}},
	{name: "nor the next two times", faults: slices.Repeat([]string{jetsim.FaultCursorTooOld}, 3),
		status: "disconnected: refused with 400 Bad Request: CursorTooOld: subscribe: cursor too old"},
	{name: "nor ever", faults: []string{jetsim.FaultCursorTooOld + ":1h"}, status: "disconnected: refused with 400 Bad Request: CursorTooOld", after: 30 * time.Second, gap: true},
	{name: "401", faults: []string{jetsim.FaultUnauthorized + ":10m"}, after: 10 * time.Minute,
		status: "failed: archive: listSegments: the archive refuses the key, or wants one: 401 Unauthorized: AuthRequired"},
	{name: "403", faults: []string{jetsim.FaultForbidden + ":10m"}, after: 10 * time.Minute,
		status: "failed: archive: listSegments: the archive refuses the key, or wants one: 403 Forbidden"},
	{name: "401, and a time that the socket has not", start: config.StartAgo{Ago: time.Hour}, forget: 400, faults: []string{jetsim.FaultUnauthorized + ":1h"},
		stored: 300, gap: true},
	{name: "429 for 6 h", faults: []string{jetsim.FaultQuota + ":6h"}, after: 6 * time.Hour, status: "filling: waiting until 2026-08-01T18:00:00Z: over the archive's quota",
		fill: "archive until 18:00:00: over the archive's quota"},
	{name: "503", faults: []string{jetsim.FaultNotReady + ":10m"}, after: 10 * time.Minute,
		status: "archive: listSegments: the archive is not ready: 503 Service Unavailable", fill: "archive: listSegments: the archive is not ready"},
	{name: "another instance on the way", on: func(a *archived, call string, n int) {
		if call == "getSegment" && n == 3 {
			a.compact.Do(func() { a.inject(jetsim.FaultReplaced) })
		}
	}, stored: differs},
	{name: "a block that stays damaged", faults: []string{jetsim.FaultFrameFlip + ":10m"}, after: 10 * time.Minute,
		status: "disconnected: the archive could not be read further: archive segment seg_0000000000.jss (1 to 108), block 0: corrupt archive segment"},
	{name: "404 beyond the grace", faults: []string{jetsim.FaultGone + ":10m"}, after: 10 * time.Minute,
		status: "disconnected: the archive could not be read further: archive: getSegment: not in the archive: 404 Not Found: SegmentNotFound", fill: "getSegment: not in the archive"},
	{name: "a plan that stays outdated", faults: []string{jetsim.FaultPlanChecksum + ":10m"}, after: 10 * time.Minute,
		status: "disconnected: the archive could not be read further: archive: getSegment: the segment has changed since the plan: 412"},
	{name: "redirect", faults: []string{jetsim.FaultRedirect + ":10m"}, after: 10 * time.Minute,
		status: "failed: archive: listSegments: the archive redirects to another place: http://127.0.0.2:6008"},
}

// Every fault on the way of a feed that begins with history: what its status says meanwhile, and what
// is there in the end, against everything that was sent.
func TestI4_EveryFaultOfAFirstFill(t *testing.T) {
	table := []string{"", "| fault | status meanwhile | live after | stored | gaps |", "|---|---|---|---|---|"}
	for _, c := range fillFaults {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { table = append(table, c.run(t)) })
		})
	}
	t.Log(strings.Join(table, "\n"))
}

func (c fillFault) run(t *testing.T) string {
	const before, live = 700, 150
	a := newServer(t, jetsim.Options{Backlog: before})
	if c.forget > 0 {
		a.sim.Forget(c.forget)
	}
	for _, f := range c.faults {
		a.inject(f)
	}
	if c.on != nil {
		a.during(func(call string, n int) { c.on(a, call, n) })
	}
	a.read(func(r *rig) {
		r.cfg.Feeds[0].Start = config.StartArchive{}
		if c.start != nil {
			r.cfg.Feeds[0].Start = c.start
		}
		r.cfg.Feeds[0].Repair.Policy = config.GapsRecord
	})
	defer a.end()
	began := time.Now()
	var said []string // of the status, and of its part about the history
	s := a.r.status()
	for ; s.State != messages.StateLive && time.Since(began) < c.after+20*time.Minute; s = a.r.status() {
		text := fmt.Sprintf("%s: %s", s.State, s.Reason)
		if s.Fill != nil && !s.Fill.WaitUntil.IsZero() {
			text += fmt.Sprintf(" [%s until %s: %s]", s.Fill.Source, s.Fill.WaitUntil.UTC().Format(time.TimeOnly), s.Fill.Why)
		}
		if !slices.Contains(said, text) {
			said = append(said, text)
		}
		a.r.after(min(time.Second<<min(len(said), 4), 15*time.Second))
	}
	after := time.Since(began)
	if all := strings.Join(said, "\n"); !strings.Contains(all, c.status) || !strings.Contains(all, c.fill) {
		t.Errorf("the status said %q", said)
	}
	for range live / 5 { // not in step with the heartbeats
		a.sim.Produce(5)
		a.r.after(700 * time.Millisecond)
	}
	s = a.r.status()
	if s.State != messages.StateLive || s.Fill != nil || after < c.after || (s.Gaps > 0) != c.gap {
		t.Errorf("after %v it is %s, %d gaps; %+v", after, s.State, s.Gaps, s.Fill)
	}
	report := a.verify()
	if report.Duplicated+report.OutOfOrder+report.Altered > 0 || report.Lost+report.Foreign > 0 && c.stored != differs {
		t.Errorf("%v: %v", report, report.Examples)
	}
	if c.stored != differs && report.Stored < cmp.Or(c.stored, before)+live {
		t.Errorf("%d events are stored", report.Stored)
	}
	if len(a.hosts) != 1 || strings.Contains(a.r.log.String(), simKey) {
		t.Errorf("asked %v, or the log has the key", a.hosts)
	}
	return fmt.Sprintf("| %s | %s | %v | %d | %d |", c.name, strings.Join(said[:min(len(said), 3)], "<br>"), after, report.Stored, s.Gaps)
}
