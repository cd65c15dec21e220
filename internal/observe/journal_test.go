package observe

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// entry is what the journal gets.
type entry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

// inJournal returns an observer that writes to a journal, the journal, and standard error.
func inJournal(t *testing.T, format string, refuse error) (*Observer, *[]entry, *bytes.Buffer) {
	t.Helper()
	var entries []entry
	var out bytes.Buffer
	log, err := newLogger(&out, slog.LevelDebug, format, true, func(m string, p journal.Priority, f map[string]string) error {
		entries = append(entries, entry{m, p, f})
		return refuse
	})
	if err != nil {
		t.Fatal(err)
	}
	return New(log, NewMetrics(), Strict()), &entries, &out
}

func TestTheJournalGetsPriorityFieldsAndALineForPeople(t *testing.T) {
	o, entries, out := inJournal(t, FormatAuto, nil)
	o.Emit(FeedDisconnected, "sky", "reason", "went away \x1b[2J\u009b", "retry_in", 1500*time.Millisecond)
	o.Emit(ActorFailed, "sky", "actor", "writer", "error", "oh", "stack", "one\ntwo")
	o.Emit(DaemonReady, "")
	want := []entry{
		{`feed.disconnected sky: the connection ended: reason="went away \x1b[2J\u009b" retry_in=1.5s`, journal.PriWarning, map[string]string{
			"TEMPESTD_EVENT": "feed.disconnected", "TEMPESTD_FEED": "sky", "TEMPESTD_REASON": "went away [2J", "TEMPESTD_RETRY_IN": "1.5s"}},
		{"actor.failed sky: an actor, or what runs beside it, panicked: a fault of ours: actor=writer error=oh", journal.PriErr, map[string]string{
			"TEMPESTD_EVENT": "actor.failed", "TEMPESTD_FEED": "sky", "TEMPESTD_ACTOR": "writer", "TEMPESTD_ERROR": "oh", "TEMPESTD_STACK": "one\ntwo"}},
		{"daemon.ready: the store is open and every feed is supervised", journal.PriInfo, map[string]string{"TEMPESTD_EVENT": "daemon.ready"}},
	}
	for i, w := range want {
		w.fields["SYSLOG_IDENTIFIER"] = "tempestd"
		if got := (*entries)[i]; got.message != w.message || got.priority != w.priority || !maps.Equal(got.fields, w.fields) {
			t.Errorf("entry %d is\n%+v\nwant\n%+v", i, got, w)
		}
	}
	if len(*entries) != len(want) || out.Len() > 0 {
		t.Errorf("%d entries, and on standard error %q", len(*entries), out)
	}
}

func TestEveryLevelHasItsPriority(t *testing.T) {
	o, entries, _ := inJournal(t, FormatAuto, nil)
	for _, d := range Catalogue {
		o.Emit(d.Event, "")
		want := map[slog.Level]journal.Priority{slog.LevelDebug: journal.PriDebug, slog.LevelInfo: journal.PriInfo, slog.LevelWarn: journal.PriWarning, slog.LevelError: journal.PriErr}[d.Level]
		if got := (*entries)[len(*entries)-1]; got.priority != want {
			t.Errorf("%s of level %v has the priority %d, want %d", d.Event, d.Level, got.priority, want)
		}
	}
}

// A record that the journal does not take goes to standard error, which the journal reads.
func TestI9_ARecordThatTheJournalRefusesIsPrinted(t *testing.T) {
	o, _, out := inJournal(t, FormatAuto, errors.New("no socket"))
	o.Emit(HTTPFailed, "", "error", "refused")
	if text := out.String(); !strings.HasPrefix(text, "<3>time=") || !strings.HasSuffix(text, "event=http.failed error=refused\n") {
		t.Errorf("printed %q", text)
	}
}

func TestTheOtherFormatsHaveThePriorityTooInTheJournal(t *testing.T) {
	o, entries, out := inJournal(t, FormatJSON, nil)
	o.Emit(CursorAging, "sky", "age", time.Hour)
	if text := out.String(); !strings.HasPrefix(text, `<4>{"time":`) || !strings.Contains(text, `"age":"1h0m0s"`) || len(*entries) > 0 {
		t.Errorf("printed %q, sent %+v", text, *entries)
	}
}
