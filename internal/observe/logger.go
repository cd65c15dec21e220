package observe

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/term"

	"tempestd/internal/plain"
)

// Formats of the log, as the configuration names them.
const (
	FormatAuto = "auto" // fields of the journal under systemd, text on a terminal, JSON elsewhere
	FormatJSON = "json"
	FormatText = "text"
)

// NewLogger returns a logger that writes one record per line to w, from level upward. In all
// formats, durations are written as the configuration accepts them ("1.5s"). If w is standard error
// and systemd's journal reads it, every record has its priority there. An unknown format is an
// error.
func NewLogger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	return newLogger(w, level, format, journalStream(w), journal.Send)
}

func newLogger(w io.Writer, level slog.Leveler, format string, toJournal bool, send sendFunc) (*slog.Logger, error) {
	fields := format == FormatAuto && toJournal
	if format == FormatAuto {
		format = FormatJSON
		if isTerminal(w) || toJournal {
			format = FormatText
		}
	}
	w = escaping{w}
	var line *bytes.Buffer
	to := w
	if toJournal {
		line = new(bytes.Buffer)
		to = line
	}
	opt := &slog.HandlerOptions{Level: level, ReplaceAttr: durationsAsText}
	var h slog.Handler
	switch format {
	case FormatJSON:
		h = slog.NewJSONHandler(to, opt)
	case FormatText:
		h = slog.NewTextHandler(to, opt)
	default:
		return nil, fmt.Errorf("log format %q is not one of %q, %q, %q", format, FormatAuto, FormatJSON, FormatText)
	}
	if toJournal {
		h = prioritized{inner: h, line: line, mu: new(sync.Mutex), to: w}
	}
	if fields {
		h = &journalHandler{level: level, send: send, otherwise: h}
	}
	return slog.New(h), nil
}

// escaping wraps an output that gets each record in one Write. It escapes characters that a
// terminal would obey and that the handlers do not escape: C1 controls, and marks that change the
// direction of text.
type escaping struct{ to io.Writer }

func (e escaping) Write(record []byte) (int, error) {
	if plain.IsASCII(record) {
		return e.to.Write(record)
	}
	if _, err := e.to.Write(plain.Escape(nil, record)); err != nil {
		return 0, err
	}
	return len(record), nil
}

// durationsAsText prevents the JSON handler from writing a duration as a bare number of
// nanoseconds.
func durationsAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
