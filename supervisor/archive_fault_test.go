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
	"tempestd/internal/observe"
	"tempestd/messages"
)

// gapFault is what becomes of a gap while its archive has a fault.
type gapFault struct {
	fault string // of the simulator, "" for none
	// times is how often it happens; 0 stands for once, and always for an hour.
	times int
	first func(a *archived) // before the events of the gap
	on    func(a *archived, call string, n int)

	until     time.Duration      // when the row has its end, 1 min if 0
	meanwhile string             // part of a reason that the row has before its end
	state     messages.GapState  // at the end; repaired if ""
	why       string             // part of the row's reason at the end
	missing   string             // part of what the row says that is missing
	lost      int64              // events that nothing has, of those that were sent
	change    func(r *rig)       // of the feed
	source    messages.GapSource // archive if ""
}

const always = -1

// differs says that it is not known beforehand which events nothing has.
const differs = -1

var gapFaults = []gapFault{
	{},
	{fault: jetsim.FaultFrameFlip},
	{fault: jetsim.FaultFrameFlip, times: always, meanwhile: "block 3: corrupt archive segment", state: messages.GapPartly,
		why: "archive has nothing from 2026-08-01T12:", missing: "blocks that are damaged in the archive", lost: differs},
	{fault: jetsim.FaultIndexFlip},
	{fault: jetsim.FaultIndexFlip, times: always},
	{fault: jetsim.FaultBloomFlip, times: always},
	{fault: jetsim.FaultPlanChecksum},
	{fault: jetsim.FaultPlanChecksum, times: always, until: 2 * time.Hour, meanwhile: "the segment has changed since the plan: 412"},
	{fault: jetsim.FaultGeneration},
	{fault: jetsim.FaultGeneration, times: always, until: 2 * time.Hour, meanwhile: "the segment has changed since the plan: it is"},
	{fault: "compacted between plan and fetch", on: func(a *archived, call string, _ int) {
		if strings.HasPrefix(call, "get") {
			a.compact.Do(func() { a.inject(jetsim.FaultCompact) })
		}
	}, lost: differs},
	{fault: jetsim.FaultGone},
	{fault: jetsim.FaultGone, times: always, until: 2 * time.Hour, meanwhile: "not in the archive: 404 Not Found: SegmentNotFound"},
	{fault: jetsim.FaultCut},
	{fault: jetsim.FaultCut, times: always, until: 5 * time.Minute},
	{fault: jetsim.FaultNoRange},
	{fault: jetsim.FaultNoRange, times: always},
	{fault: jetsim.FaultQuota + ":1s"},
	{fault: jetsim.FaultQuota + ":6h", until: 7 * time.Hour, meanwhile: "archive: over the archive's quota"},
	{fault: jetsim.FaultUnauthorized, state: messages.GapUnrepairable, why: "archive: refused for good: listSegments: the archive refuses the key, or wants one: 401", lost: 618},
	{fault: jetsim.FaultForbidden, state: messages.GapUnrepairable, why: "archive: refused for good: listSegments: the archive refuses the key, or wants one: 403", lost: 618},
	{fault: jetsim.FaultNotReady},
	{fault: jetsim.FaultNotReady, times: always, until: 2 * time.Hour, meanwhile: "the archive is not ready: 503"},
	{fault: jetsim.FaultPlanStuck, until: 5 * time.Minute},
	{fault: jetsim.FaultPlanStuck, times: always, until: 2 * time.Hour, meanwhile: "the archive's plan does not advance: after 310"},
	{fault: jetsim.FaultPlanIdle},
	{fault: jetsim.FaultPlanBehind, until: 10 * time.Minute},
	{fault: jetsim.FaultBlockEmpty, lost: differs},
	{fault: jetsim.FaultBlockKind, meanwhile: "row 10 has the kind 9: unknown to this version", until: 5 * time.Minute},
	{fault: jetsim.FaultBlockKind, times: always, until: 5 * time.Minute, meanwhile: "row 10 has the kind 9: unknown to this version",
		state: messages.GapUnrepairable, why: "archive has nothing", missing: "blocks that are damaged", lost: 618},
	{fault: jetsim.FaultBlockLengths},
	{fault: jetsim.FaultBlockLengths, times: always, until: 5 * time.Minute, meanwhile: "its columns announce", state: messages.GapUnrepairable,
		why: "archive has nothing from", missing: "blocks that are damaged in the archive", lost: 618},
	{fault: jetsim.FaultBlockRows},
	{fault: jetsim.FaultBlockRows, times: always, until: 5 * time.Minute, meanwhile: "a block of 4294967295 rows, more than 262144",
		state: messages.GapUnrepairable, missing: "blocks that are damaged", lost: 618},
	{fault: jetsim.FaultBlockBomb, until: 5 * time.Minute, meanwhile: "larger than what is accepted"},
	{fault: jetsim.FaultBlockFloat, times: 4, missing: "events that cannot be delivered (float)"},
	{fault: jetsim.FaultBlockList, times: 4, missing: "events that cannot be delivered (not_map)"},
	{fault: jetsim.FaultBlockLink, times: 4, missing: "events that cannot be delivered (foreign_link)"},
	{fault: jetsim.FaultBlockOutside},
	{fault: jetsim.FaultBlockOutside, times: always, until: 5 * time.Minute, meanwhile: "the plan says 225 to 349", state: messages.GapUnrepairable,
		missing: "blocks that are damaged", lost: 618},
	{fault: jetsim.FaultBlockOrder},
	{fault: jetsim.FaultBlockOrder, times: always, until: 5 * time.Minute, meanwhile: "row 1 has the sequence number 225, the one before it 226",
		state: messages.GapUnrepairable, missing: "blocks that are damaged", lost: 618},
	{fault: jetsim.FaultSeqHole, first: func(a *archived) { a.inject(jetsim.FaultSeqHole) }},
	{fault: jetsim.FaultReplaced, until: 2 * time.Hour, meanwhile: "the rest is not in the archive yet", state: messages.GapPartly,
		why: "archive has nothing from", lost: differs},
	{fault: jetsim.FaultRedirect, state: messages.GapUnrepairable, why: "archive: refused for good: listSegments: the archive redirects to another place: http://127.0.0.2:6008", lost: 618},
	{fault: jetsim.FaultCursorTooOld + " for the socket", first: func(a *archived) { a.inject(jetsim.FaultCursorTooOld + ":1h") },
		change: func(r *rig) {
			r.cfg.Feeds[0].Repair.Sources = []messages.GapSource{messages.SourceSocket, messages.SourceArchive}
		}, source: messages.SourceSocket},
}

// Every fault of an archive: what the ledger and the log say of a gap that is to be repaired from it.
// The live feed is never held up, nothing is stored twice, and all is there that can be had. The race
// detector, which makes each run long, is given some of them: they differ in what comes, not in what
// runs beside what. make week runs all.
func TestEveryFaultOfAnArchiveInARepair(t *testing.T) {
	table := []string{"", "| fault | meanwhile | state | recovered | missing | log |", "|---|---|---|---|---|---|"}
	for i, c := range gapFaults {
		if raceEnabled && i%6 != 0 && c.on == nil && c.first == nil && c.change == nil {
			continue
		}
		name := cmp.Or(c.fault, "none")
		switch {
		case c.times == always:
			name += ", always"
		case c.times > 1:
			name += fmt.Sprintf(", %d times", c.times)
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { table = append(table, c.run(t, name)) })
		})
	}
	t.Log(strings.Join(table, "\n"))
}

func (c gapFault) run(t *testing.T, name string) string {
	a := newArchived(t, jetsim.Options{}, c.change)
	defer a.end()
	a.produce(5, 50)
	if c.first != nil {
		c.first(a)
	}
	a.awayFor(10, 60)
	switch {
	case c.first != nil:
	case c.on != nil:
		a.during(func(call string, n int) { c.on(a, call, n) })
	case c.times == always:
		a.inject(c.fault + ":1h")
	case c.fault != "":
		for range max(c.times, 1) {
			a.inject(c.fault)
		}
	}
	a.r.start()
	a.r.after(time.Second)
	a.produce(5, 3)
	row := a.r.row()
	var reasons []string
	for deadline := time.Now().Add(cmp.Or(c.until, time.Minute)); !row.State.Final() && time.Now().Before(deadline); row = a.r.row() {
		if row.Why != "" && !slices.Contains(reasons, row.Why) {
			reasons = append(reasons, row.Why)
		}
		if row.State == messages.GapWaiting && row.RetryAt.Before(time.Now()) {
			t.Errorf("it waits until %v, which is over", row.RetryAt)
		}
		a.live(t)
		a.r.after(min(max(time.Until(row.RetryAt), time.Second), 10*time.Minute))
	}
	a.live(t)
	if row.State != cmp.Or(c.state, messages.GapRepaired) || row.Source != cmp.Or(c.source, messages.SourceArchive) {
		t.Errorf("%+v", row)
	}
	if !strings.Contains(row.Why, c.why) || c.why == "" && row.State == messages.GapRepaired && row.Why != "" || !strings.Contains(row.Missing, c.missing) {
		t.Errorf("why %q, missing %q", row.Why, row.Missing)
	}
	if c.meanwhile != "" && !strings.Contains(strings.Join(reasons, "\n"), c.meanwhile) {
		t.Errorf("reasons %q", reasons)
	}
	if row.State == messages.GapRepaired && row.Source == messages.SourceArchive && !strings.HasPrefix(row.Missing, "versions of records") {
		t.Errorf("%+v", row)
	}
	report := a.verify()
	if report.Duplicated+report.OutOfOrder+report.Altered > 0 || report.Lost != c.lost && c.lost != differs || report.Foreign > 0 && c.fault != jetsim.FaultReplaced {
		t.Errorf("%v: %v", report, report.Examples)
	}
	if row.Recovered+row.Held < 618-report.Lost {
		t.Errorf("%d recovered, %d held, %d lost", row.Recovered, row.Held, report.Lost)
	}
	if len(a.hosts) != 1 || strings.Contains(a.r.log.String(), simKey) {
		t.Errorf("asked %v, or the log has the key", a.hosts)
	}
	shown := messages.NewGapStatus(row) // as /v1/gaps has it
	if shown.From == nil || shown.To == nil || shown.ToSeq == 0 {
		t.Errorf("shown as %+v", shown)
	}
	end := string(row.State)
	if row.Why != "" {
		end += ": " + row.Why
	}
	missing := strings.TrimPrefix(strings.TrimPrefix(row.Missing, "versions of records that were overtaken, and records that were deleted, before the fetch"), "; ")
	return fmt.Sprintf("| %s | %s | %s | %d | %s | %s |", name, strings.Join(reasons, "<br>"), end, row.Recovered, missing, strings.Join(a.r.said("gap."), " "))
}

// live fails unless a new event is stored within a second. A feed may have thought its upstream dead
// at this moment: there were minutes without an event.
func (a *archived) live(t *testing.T) {
	t.Helper()
	a.sim.Produce(5)
	a.r.after(time.Second)
	if s := a.r.status(); s.State == messages.StateLive && !a.stored() {
		t.Errorf("the newest event is not stored: %+v", s)
	}
}

// A gap whose archive refused the key is repaired when an operator orders it with another one.
func TestAnArchivesRefusalIsNotForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchived(t, jetsim.Options{}, func(r *rig) { r.cfg.Feeds[0].Repair.ArchiveKeys = nil })
		defer a.end()
		a.produce(5, 50)
		a.awayFor(10, 60)
		a.r.start()
		a.produce(5, 10)
		if row := a.r.row(); row.State != messages.GapUnrepairable {
			t.Fatalf("%+v", row)
		}
		if err := a.r.stop(); err != nil {
			t.Fatal(err)
		}
		a.r.cfg.Feeds[0].Repair.ArchiveKeys = map[string]config.Secret{simHost: config.NewSecret(simKey)}
		a.r.start()
		a.r.after(time.Second)
		if _, err := a.r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: a.r.row().ID}); err != nil {
			t.Fatal(err)
		}
		a.r.after(time.Minute)
		if row, report := a.r.row(), a.verify(); row.State != messages.GapRepaired || !report.OK() || row.Recovered != 618 {
			t.Fatalf("%+v, %v", row, report)
		}
		if a.r.events(observe.GapRepaired) != 1 {
			t.Error("it was not told once")
		}
	})
}
