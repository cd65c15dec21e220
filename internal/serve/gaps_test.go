package serve_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
)

// gapRow returns a row whose ID begins with its name, opened at that minute.
func gapRow(feed, name string, minute int, state messages.GapState) messages.GapRow {
	at := time.UnixMicro(firstUS).UTC().Add(time.Duration(minute) * time.Minute)
	return messages.GapRow{ID: name + "000", Version: 1, Feed: feed, State: state, OpenedAt: at, ChangedAt: at,
		Gap: messages.Gap{Host: "jetstream.example", FromUS: firstUS, ToUS: firstUS + 90_500_000, Cause: messages.GapReplayWindow}}
}

// gaps decodes the answer to a question about gaps.
func (d *daemon) gaps(path string) (ids []string, states map[messages.GapState]int) {
	d.t.Helper()
	var list struct {
		Gaps   []messages.GapRow
		States map[messages.GapState]int
	}
	r := d.get(path)
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.status != http.StatusOK {
		d.t.Fatalf("%s: %d %v: %.300s", path, r.status, err, r.body)
	}
	for _, row := range list.Gaps {
		ids = append(ids, row.ID)
	}
	return ids, list.States
}

// startWithGaps starts a daemon whose store has a feed with gaps, and a stream without a feed.
func startWithGaps(t *testing.T) *daemon {
	store := openStore(t)
	for _, s := range []struct {
		name string
		rows []messages.GapRow
	}{
		{"bluesky", []messages.GapRow{gapRow("bluesky", "a", 0, messages.GapRepaired), gapRow("bluesky", "b", 1, messages.GapOpen), gapRow("bluesky", "c", 2, messages.GapWaiting)}},
		{"former", []messages.GapRow{gapRow("former", "d", 3, messages.GapOpen), gapRow("former", "e", 4, messages.GapPartly)}},
		{"whole", nil},
	} {
		if err := openStream(t, store, s.name, numbered(0, 1)...).SaveGaps(t.Context(), s.rows); err != nil {
			t.Fatal(err)
		}
	}
	return start(t, store)
}

func TestGapsOfAllStreams(t *testing.T) {
	t.Parallel()
	d := startWithGaps(t)
	for path, want := range map[string][]string{
		"/v1/gaps":                              {"d000", "c000", "b000", "e000", "a000"},
		"/v1/gaps?limit=2":                      {"d000", "c000"},
		"/v1/gaps?state=open":                   {"d000", "b000"},
		"/v1/gaps?state=waiting,partly":         {"c000", "e000"},
		"/v1/gaps?state=unrepairable":           nil,
		"/v1/gaps?feed=former":                  {"d000", "e000"},
		"/v1/gaps?feed=bluesky&state=repaired":  {"a000"},
		"/v1/feeds/former/gaps":                 {"d000", "e000"},
		"/v1/feeds/bluesky/gaps?state=open":     {"b000"},
		"/v1/feeds/whole/gaps":                  nil,
		"/v1/gaps?id=b":                         {"b000"},
		"/v1/gaps?id=b0001":                     nil,
		"/v1/feeds/bluesky/gaps?limit=1":        {"c000"},
		"/v1/feeds/bluesky/gaps?state=repaired": {"a000"},
	} {
		if got, _ := d.gaps(path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if _, states := d.gaps("/v1/gaps?state=open&limit=1"); len(states) != len(messages.GapStates) || states[messages.GapOpen] != 2 || states[messages.GapRepaired] != 1 || states[messages.GapRepairing] != 0 {
		t.Errorf("the states are counted as %v", states)
	}
	for _, want := range []string{`"from":"2026-11-18T11:06:40Z"`, `"to":"2026-11-18T11:08:10.5Z"`, `"cause":"replay_window"`, `"state":"waiting"`} {
		if r := d.get("/v1/feeds/bluesky/gaps"); !strings.Contains(r.body, want) {
			t.Errorf("the gaps lack %s: %s", want, r.body)
		}
	}
	for _, path := range []string{"/v1/gaps?state=", "/v1/gaps?state=lost", "/v1/gaps?state=open,", "/v1/gaps?limit=0", "/v1/gaps?limit=1001", "/v1/gaps?from=1", "/v1/feeds/bluesky/gaps?feed=sky"} {
		d.want(d.get(path), http.StatusBadRequest, "InvalidRequest")
	}
	d.want(d.get("/v1/gaps?feed=other"), http.StatusNotFound, "NoSuchFeed")
	d.want(d.get("/v1/feeds/other/gaps"), http.StatusNotFound, "NoSuchFeed")
}

func TestGapsAreMeasured(t *testing.T) {
	t.Parallel()
	r := startWithGaps(t).get("/metrics")
	for _, want := range []string{
		`tempestd_gap_rows{feed="bluesky",state="open"} 1`, `tempestd_gap_rows{feed="bluesky",state="waiting"} 1`, `tempestd_gap_rows{feed="bluesky",state="repaired"} 1`,
		`tempestd_gap_rows{feed="bluesky",state="partly"} 0`, `tempestd_gap_rows{feed="whole",state="open"} 0`,
		`tempestd_gap_lost_seconds{feed="bluesky"} 181`, `tempestd_gap_lost_seconds{feed="former"} 90.5`, `tempestd_gap_lost_seconds{feed="whole"} 0`,
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// The feed's stream begins with its first event. Before that the feed has no gaps.
func TestGapsOfAFeedWithoutAStream(t *testing.T) {
	t.Parallel()
	d := start(t, openStore(t))
	if ids, _ := d.gaps("/v1/feeds/bluesky/gaps"); len(ids) > 0 {
		t.Errorf("it has the gaps %v", ids)
	}
}

func TestCommandsAboutGaps(t *testing.T) {
	t.Parallel()
	d := startWithGaps(t)
	const gap = "/v1/feeds/bluesky/gaps/b000/"
	r := d.do("POST", gap+"repair")
	if d.want(r, http.StatusAccepted, ""); !strings.Contains(r.body, `"accepted":"repair"`) || !strings.Contains(r.body, `"state":"repairing"`) {
		t.Errorf("a repair is answered %s", r.body)
	}
	r = d.do("POST", gap+"repair?dry_run=true")
	if d.want(r, http.StatusOK, ""); !strings.Contains(r.body, `"offers":[{"source":"socket","bytes":1000,"requests":1,"events":5},{"source":"archive","bytes":0,"requests":0,"events":0,"why":"it has no key"}]`) {
		t.Errorf("a dry run is answered %s", r.body)
	}
	r = d.do("POST", gap+"dismiss?why=too%20old")
	if d.want(r, http.StatusAccepted, ""); !strings.Contains(r.body, `"why":"too old"`) {
		t.Errorf("a dismissal is answered %s", r.body)
	}
	d.want(d.do("POST", gap+"dismiss"), http.StatusAccepted, "")
	if want := []string{"repair b000 false", "repair b000 true", "dismiss b000: too old", "dismiss b000: dismissed by an operator"}; !slices.Equal(d.control.commands, want) {
		t.Errorf("the feed was told %q, want %q", d.control.commands, want)
	}
	for _, path := range []string{"repair?dry_run=1", "repair?why=x", "dismiss?why=", "dismiss?why=a%0Ab", "dismiss?dry_run=true"} {
		d.want(d.do("POST", gap+path), http.StatusBadRequest, "InvalidRequest")
	}
	d.want(d.get(gap+"repair"), http.StatusMethodNotAllowed, "MethodNotAllowed")
	d.want(d.do("POST", gap+"repair", "Origin", "https://evil.example"), http.StatusForbidden, "Forbidden")
	r = d.do("POST", "/v1/feeds/bluesky/gaps/d000/repair")
	if d.want(r, http.StatusNotFound, "GapNotFound"); !strings.Contains(r.body, `got \"d000\"; there are: c000, b000, a000`) {
		t.Errorf("a gap of another feed: %s", r.body)
	}
	r = d.do("POST", "/v1/feeds/whole/gaps/a/dismiss")
	if d.want(r, http.StatusNotFound, "GapNotFound"); !strings.Contains(r.body, "there are: none") {
		t.Errorf("a gap of a feed that has none: %s", r.body)
	}
	d.want(d.do("POST", "/v1/feeds/former/gaps/d000/repair"), http.StatusNotFound, "NoSuchFeed")
	d.control.refuses = fmt.Errorf("%w: another daemon has the feed", messages.ErrNotNow)
	d.want(d.do("POST", gap+"repair"), http.StatusConflict, "NotNow")
	d.control.refuses = fmt.Errorf("%w: a dropped row", messages.ErrNoGap)
	d.want(d.do("POST", gap+"dismiss"), http.StatusNotFound, "GapNotFound")
}

// A store that cannot answer is told apart from one without gaps.
func TestGapsOfAStoreThatIsClosed(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 1)...)
	d := start(t, store)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	d.want(d.get("/v1/gaps"), http.StatusServiceUnavailable, "ShuttingDown")
}
