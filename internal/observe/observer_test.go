package observe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/observe"
)

// logged returns a strict observer and the buffer of its log.
func logged(t *testing.T, opts ...observe.Option) (*observe.Observer, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log, err := observe.NewLogger(&out, slog.LevelDebug, observe.FormatJSON)
	if err != nil {
		t.Fatal(err)
	}
	return observe.New(log, observe.NewMetrics(), opts...), &out
}

// records parses a log with one JSON record per line.
func records(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("record %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

func panics(f func()) (with any) {
	defer func() { with = recover() }()
	f()
	return nil
}

func TestI9_EveryEventIsOneRecordAndOneCount(t *testing.T) {
	for _, d := range observe.Catalogue {
		o, out := logged(t, observe.Strict())
		subject := ""
		args := []any{}
		for i, f := range d.Fields {
			if i == 0 && (f == "feed" || f == "stream") {
				subject = "bluesky"
				continue
			}
			args = append(args, f, "value of "+f)
		}
		o.Emit(d.Event, subject, args...)

		rs := records(t, out)
		if len(rs) != 1 {
			t.Fatalf("%s: %d records, want 1", d.Event, len(rs))
		}
		r := rs[0]
		if r["event"] != string(d.Event) || r["msg"] != d.Help || r["level"] != d.Level.String() {
			t.Errorf("%s: record %v", d.Event, r)
		}
		for _, f := range d.Fields {
			if _, ok := r[f]; !ok {
				t.Errorf("%s: record lacks field %q: %v", d.Event, f, r)
			}
		}
		if n := testutil.ToFloat64(o.Metrics().Events.WithLabelValues(string(d.Event), subject)); n != 1 {
			t.Errorf("%s: counted %v times, want 1", d.Event, n)
		}
	}
}

func TestCatalogueIsSound(t *testing.T) {
	seen := map[observe.Event]bool{}
	for _, d := range observe.Catalogue {
		if seen[d.Event] {
			t.Errorf("%s stands twice in the catalogue", d.Event)
		}
		seen[d.Event] = true
		if d.Help == "" || strings.HasSuffix(d.Help, ".") || strings.ContainsAny(d.Help, "|\n") {
			t.Errorf("%s: help %q does not fit a record and a table", d.Event, d.Help)
		}
		fields := map[string]bool{"time": true, "level": true, "msg": true, "event": true}
		for _, f := range d.Fields {
			if fields[f] {
				t.Errorf("%s: field %q is taken", d.Event, f)
			}
			fields[f] = true
		}
	}
}

func TestStrictObserverRefusesWhatTheCatalogueLacks(t *testing.T) {
	o := observe.Discard()
	for name, emit := range map[string]func(){
		"unknown event":           func() { o.Emit("feed.exploded", "bluesky") },
		"unknown field":           func() { o.Emit(observe.HTTPListening, "", "address", "127.0.0.1:7077") },
		"feed given as a field":   func() { o.Emit(observe.CursorFailed, "", "feed", "bluesky") },
		"feed of the daemon's":    func() { o.Emit(observe.DaemonReady, "bluesky") },
		"key without a value":     func() { o.Emit(observe.HTTPFailed, "", "error") },
		"unknown slog attribute":  func() { o.Emit(observe.HTTPFailed, "", slog.String("err", "x")) },
		"value where a key stood": func() { o.Emit(observe.HTTPFailed, "", 7, "error") },
	} {
		if panics(emit) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if p := panics(func() { o.Emit(observe.HTTPFailed, "", slog.Any("error", errors.New("x"))) }); p != nil {
		t.Errorf("an attribute of the catalogue was refused: %v", p)
	}
}

func TestLenientObserverSaysWhatTheCatalogueLacks(t *testing.T) {
	o, out := logged(t)
	o.Emit("feed.exploded", "bluesky", "how", "loudly")
	o.Emit(observe.HTTPListening, "", "address", "127.0.0.1:7077")
	rs := records(t, out)
	if len(rs) != 2 {
		t.Fatalf("%d records, want 2", len(rs))
	}
	if r := rs[0]; r["event"] != "feed.exploded" || r["level"] != "ERROR" || r["feed"] != "bluesky" || r["how"] != "loudly" {
		t.Errorf("record of the unknown event: %v", r)
	}
	if r := rs[1]; r["address"] != "127.0.0.1:7077" {
		t.Errorf("record with an unknown field: %v", r)
	}
	if n := testutil.ToFloat64(o.Metrics().Events.WithLabelValues("feed.exploded", "bluesky")); n != 1 {
		t.Errorf("unknown event counted %v times, want 1", n)
	}
}

// Text from an upstream can be in a field. It must not grow the log without bound.
func TestI7_FieldsAreBounded(t *testing.T) {
	o, out := logged(t, observe.Strict())
	huge := strings.Repeat("x", 1<<20)
	o.Emit(observe.FrameBad, "bluesky", "error", errors.New(huge), "frame", []byte(huge), "epoch", 3)
	o.Emit(observe.ActorFailed, "bluesky", "actor", stringer(huge), "error", []string{huge}, "stack", huge)
	if out.Len() > 32<<10 {
		t.Errorf("two records take %d bytes", out.Len())
	}
	if r := records(t, out)[0]; r["epoch"] != float64(3) {
		t.Errorf("a number changed: %v", r)
	}
}

type stringer string

func (s stringer) String() string { return string(s) }

func TestFeedsSeriesExistBeforeTheyCount(t *testing.T) {
	o := observe.Discard()
	o.Emit(observe.FeedConnecting, "bluesky")
	if n := testutil.CollectAndCount(o.Metrics().Events); n < 30 {
		t.Errorf("%d series after the first event of a feed, want those of every event of a feed and of the daemon", n)
	}
	before := testutil.CollectAndCount(o.Metrics().Events)
	o.Emit(observe.ActorRestarted, "bluesky")
	o.Emit(observe.StreamTrimmed, "bluesky")
	if n := testutil.CollectAndCount(o.Metrics().Events); n != before {
		t.Errorf("the first restart and trim made %d new series", n-before)
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	for _, format := range []string{observe.FormatAuto, observe.FormatJSON} {
		out.Reset()
		log, err := observe.NewLogger(&out, slog.LevelInfo, format)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("unheard")
		log.Info("heard", "took", 1500*time.Millisecond)
		if rs := records(t, &out); len(rs) != 1 || rs[0]["took"] != "1.5s" {
			t.Errorf("format %s wrote %q", format, out.String())
		}
	}

	out.Reset()
	log, err := observe.NewLogger(&out, slog.LevelInfo, observe.FormatText)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("heard", "took", 1500*time.Millisecond)
	if !strings.Contains(out.String(), "msg=heard took=1.5s") {
		t.Errorf("text format wrote %q", out.String())
	}

	if _, err := observe.NewLogger(&out, slog.LevelInfo, "xml"); err == nil || !strings.Contains(err.Error(), `"json"`) {
		t.Errorf("unknown format: error %v, want one that names the formats", err)
	}
}

// masked is a secret that masks itself when it is logged. Emit must let it do so.
type masked string

func (masked) LogValue() slog.Value { return slog.StringValue("***") }

func TestI10_EmitLetsSecretsMaskThemselves(t *testing.T) {
	o, out := logged(t, observe.Strict())
	o.Emit(observe.HTTPFailed, "", "error", masked("hunter2"))
	if s := out.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "***") {
		t.Errorf("record %s", s)
	}
}

func BenchmarkEmit(b *testing.B) {
	o := observe.New(slog.New(slog.DiscardHandler), observe.NewMetrics())
	b.ReportAllocs()
	for b.Loop() {
		o.Emit(observe.CursorSaved, "bluesky", "cause", "interval", "seq", 7)
	}
}

func ExampleObserver_Emit() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	observe.New(log, observe.NewMetrics()).Emit(observe.FeedLive, "bluesky", "from", "connecting", "epoch", 1)
	// Output: level=INFO msg="connected; what comes is stored" event=feed.live feed=bluesky from=connecting epoch=1
}

// Text from an upstream reaches the log, and the log may be read on a terminal.
func TestRecordsHoldNothingThatATerminalObeys(t *testing.T) {
	for _, format := range []string{observe.FormatJSON, observe.FormatText} {
		var out bytes.Buffer
		logger, err := observe.NewLogger(&out, slog.LevelInfo, format)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info("a\u009bm", "reason", "é \x1b[2J\u009b31m\u0080\x7f\u202e\u2066\xff", "error", errors.New("\u009b"))
		text := strings.TrimSuffix(out.String(), "\n")
		if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) || !utf8.ValidString(text) {
			t.Errorf("%s: %q", format, text)
		}
	}
}
