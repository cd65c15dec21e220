package observe

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"tempestd/internal/plain"
)

// Formats of the log, as the configuration names them.
const (
	FormatAuto = "auto" // text on a terminal, JSON elsewhere
	FormatJSON = "json"
	FormatText = "text"
)

// NewLogger returns a logger that writes one record per line to w, from level upward. In both
// formats, durations are written as the configuration accepts them ("1.5s"). An unknown format is
// an error.
func NewLogger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	if format == FormatAuto {
		format = FormatJSON
		if isTerminal(w) {
			format = FormatText
		}
	}
	w = escaping{w}
	opt := &slog.HandlerOptions{Level: level, ReplaceAttr: durationsAsText}
	switch format {
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	case FormatText:
		return slog.New(slog.NewTextHandler(w, opt)), nil
	}
	return nil, fmt.Errorf("log format %q is not one of %q, %q, %q", format, FormatAuto, FormatJSON, FormatText)
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
