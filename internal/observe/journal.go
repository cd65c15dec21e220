package observe

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"

	"tempestd/internal/plain"
)

// fieldPrefix is before the name of every field of a record in the journal: the field feed is
// TEMPESTD_FEED there.
const fieldPrefix = "TEMPESTD_"

// sendFunc sends one entry to the journal.
type sendFunc func(message string, p journal.Priority, fields map[string]string) error

// journalHandler writes each record as an entry of systemd's journal: the level is its priority,
// the fields are its fields, and the message is a line for people, with the fields as well.
// Otherwise gets the records that the journal does not take.
type journalHandler struct {
	level     slog.Leveler
	send      sendFunc
	otherwise slog.Handler
	attrs     []slog.Attr // of WithAttrs
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = slices.Concat(h.attrs, attrs)
	with.otherwise = h.otherwise.WithAttrs(attrs)
	return &with
}

// WithGroup returns the handler itself: nothing in the daemon groups fields.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	entry := r.Clone()
	entry.AddAttrs(h.attrs...)
	fields := map[string]string{"SYSLOG_IDENTIFIER": "tempestd"}
	entry.Attrs(func(a slog.Attr) bool {
		if name := fieldName(a.Key); name != "" {
			fields[name] = fieldText(a.Value)
		}
		return true
	})
	if h.send(message(ctx, entry), priority(r.Level), fields) == nil {
		return nil
	}
	return h.otherwise.Handle(ctx, r)
}

// priority returns the journal's priority of a level.
func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// fieldName returns the journal's name of a field, or "" if it cannot have one.
func fieldName(key string) string {
	name := strings.ToUpper(key)
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' }) {
		return ""
	}
	return fieldPrefix + name
}

// fieldText returns the text of a value, without the characters that a terminal obeys. It may have
// several lines.
func fieldText(v slog.Value) string {
	lines := strings.Split(v.Resolve().String(), "\n")
	for i := range lines {
		lines[i] = plain.Line(lines[i])
	}
	return strings.Join(lines, "\n")
}

// message returns the line for people: "feed.live sky: connected; what comes is stored: from=…".
// A stack is only in its field.
func message(ctx context.Context, r slog.Record) string {
	var b bytes.Buffer
	text := slog.NewTextHandler(&b, &slog.HandlerOptions{Level: r.Level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, slog.LevelKey, slog.MessageKey, "event", "feed", "stream", "stack":
			return slog.Attr{}
		}
		return durationsAsText(groups, a)
	}})
	_ = text.Handle(ctx, r) // a buffer takes everything
	var event, subject string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "event":
			event = a.Value.String()
		case "feed", "stream":
			subject = " " + a.Value.String()
		}
		return true
	})
	said := plain.Line(r.Message)
	if event != "" {
		said = event + plain.Line(subject) + ": " + said
	}
	if fields := bytes.TrimSpace(plain.Escape(nil, b.Bytes())); len(fields) > 0 {
		said += ": " + string(fields)
	}
	return said
}

// prioritized writes the priority before each line of inner, as "<4>", which the journal takes from
// what a service prints.
type prioritized struct {
	inner slog.Handler // writes to line
	line  *bytes.Buffer
	mu    *sync.Mutex // for line
	to    io.Writer
}

func (h prioritized) Enabled(ctx context.Context, l slog.Level) bool { return h.inner.Enabled(ctx, l) }

func (h prioritized) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.inner = h.inner.WithAttrs(attrs)
	return h
}

func (h prioritized) WithGroup(name string) slog.Handler {
	h.inner = h.inner.WithGroup(name)
	return h
}

func (h prioritized) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	h.line.WriteString("<" + strconv.Itoa(int(priority(r.Level))) + ">")
	if err := h.inner.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.to.Write(h.line.Bytes())
	return err
}

// journalStream reports whether w is standard error and the journal reads it.
func journalStream(w io.Writer) bool {
	if w != os.Stderr {
		return false
	}
	is, err := journal.StderrIsJournalStream()
	return is && err == nil
}
