package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
)

// gaps stores gaps of feed sky.
func (d *fakeDaemon) gaps(t *testing.T, rows ...messages.GapRow) {
	t.Helper()
	for i := range rows {
		rows[i].Version, rows[i].Feed, rows[i].Host, rows[i].Cause = 1, "sky", "jetstream.example", messages.GapReplayWindow
		rows[i].OpenedAt = time.UnixMicro(1_795_327_636_563_030).Add(-time.Duration(i) * time.Minute).UTC()
	}
	if err := d.stream.SaveGaps(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

const gapFromUS = 1_795_327_636_000_000

func TestGapsAreShown(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.gaps(t,
		messages.GapRow{ID: "3f01", State: messages.GapRepairing, Source: messages.SourceArchive, Recovered: 12_345, Bytes: 3 << 20, Planned: 12 << 20, Gap: messages.Gap{FromUS: gapFromUS, ToUS: gapFromUS + 7_500_000_000}},
		messages.GapRow{ID: "3f02", State: messages.GapWaiting, Why: "the quota is used up", RetryAt: time.Now().Add(90 * time.Minute), Gap: messages.Gap{FromUS: gapFromUS}},
		messages.GapRow{ID: "a0", State: messages.GapPartly, Source: messages.SourceSocket, Bytes: 2048, Missing: "the first 3 minutes", Gap: messages.Gap{Event: &messages.MissingEvent{DID: "did:plc:a"}}})
	p := run(t, "gaps", "--addr", d.URL)
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	if p.code != 0 || len(lines) != 4 {
		t.Fatalf("exit %d\n%s%s", p.code, p.out, p.err)
	}
	for i, want := range []string{
		"GAP STATE FEED FROM TO LACKS CAUSE SOURCE RECOVERED FETCHED WHY",
		"3f01 repairing sky 2026-11-22 06:07:16Z 2026-11-22 08:12:16Z 2h5m replay_window archive 12,345 3.0 MiB, 25 %",
		"3f02 waiting sky 2026-11-22 06:07:16Z - - replay_window - 0 - the quota is used up; next attempt in 1h",
		"a0 partly sky - - 1 event replay_window socket 0 2.0 KiB missing: the first 3 minutes",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); !strings.HasPrefix(got, want) {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
	p = run(t, "gaps", "--addr", d.URL, "--state", "partly,waiting", "--feed", "sky", "--json")
	var list messages.GapList
	if err := json.Unmarshal([]byte(p.out.String()), &list); err != nil || len(list.Gaps) != 2 || list.Gaps[1].ID != "a0" || list.States[messages.GapRepairing] != 1 {
		t.Errorf("%v: %s%s", err, p.out, p.err)
	}
	p = run(t, "gaps", "--addr", d.URL, "--feed", "other")
	if p.code != 1 || !strings.Contains(p.err.String(), "the feeds are: sky") {
		t.Errorf("another feed: exit %d\n%s", p.code, p.err)
	}
	p = run(t, "gaps", "--addr", d.URL, "--state", "lost")
	if p.code != 2 || !strings.Contains(p.err.String(), "open waiting repairing repaired partly unrepairable") {
		t.Errorf("another state: exit %d\n%s", p.code, p.err)
	}
}

func TestGapsBeyondTheFirstThousandAreCounted(t *testing.T) {
	d := newFakeDaemon(t, "")
	rows := make([]messages.GapRow, 1005)
	for i := range rows {
		rows[i].ID, rows[i].State = messages.GapID("sky", messages.Gap{FromUS: int64(i)}), messages.GapOpen
	}
	d.gaps(t, rows...)
	p := run(t, "gaps", "--addr", d.URL)
	if p.code != 0 || !strings.Contains(p.out.String(), "\n5 more; --feed and --state narrow the list") {
		t.Errorf("exit %d\n%.300s%s", p.code, p.out, p.err)
	}
}

func TestGapsAreNamedByTheBeginningOfTheirID(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.gaps(t, messages.GapRow{ID: "3f01", State: messages.GapOpen}, messages.GapRow{ID: "3f02", State: messages.GapOpen}, messages.GapRow{ID: "3f0", State: messages.GapOpen})
	for args, want := range map[string]string{
		"repair 3f01":              "3f01 of sky: is being repaired",
		"repair 3f0":               "3f0 of sky: is being repaired",
		"dismiss 3f02":             "3f02 of sky: given up",
		"dismiss 3f01 --why=older": "3f01 of sky: given up",
	} {
		p := run(t, append([]string{"gaps", "--addr", d.URL}, strings.Fields(args)...)...)
		if p.code != 0 || strings.TrimSpace(p.err.String()) != want {
			t.Errorf("%s: exit %d, %q", args, p.code, p.err)
		}
	}
	slices.Sort(d.control.asked)
	want := []string{"dismiss 3f01 older sky", "dismiss 3f02 dismissed by an operator sky", "repair 3f0 false sky", "repair 3f01 false sky"}
	if !slices.Equal(d.control.asked, want) {
		t.Errorf("the feed was told %q, want %q", d.control.asked, want)
	}
	p := run(t, "gaps", "repair", "3f01", "--dry-run", "--addr", d.URL)
	for _, want := range []string{"SOURCE DOWNLOAD REQUESTS EVENTS AT MOST", "socket 3.0 MiB 1 -", "archive - - - it has no key"} {
		if p.code != 0 || !strings.Contains(strings.Join(strings.Fields(p.out.String()), " "), want) {
			t.Errorf("a dry run: exit %d, want %q in\n%s%s", p.code, want, p.out, p.err)
		}
	}
	for args, want := range map[string]string{"repair 3f": "3 gaps have an id that begins with ", "dismiss b": "no such gap: \"b\"; tempestd gaps lists those there are"} {
		p := run(t, append([]string{"gaps", "--addr", d.URL}, strings.Fields(args)...)...)
		if p.code != 1 || !strings.Contains(p.err.String(), want) {
			t.Errorf("%s: exit %d, %q", args, p.code, p.err)
		}
	}
	if p := run(t, "gaps", "repair", "", "--addr", d.URL); p.code != 2 {
		t.Errorf("an empty id: exit %d, %q", p.code, p.err)
	}
}
