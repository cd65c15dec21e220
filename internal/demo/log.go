package demo

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// logLines is the number of log events that are kept.
const logLines = 6

// unshown lists the log fields that are not interesting in a demo.
var unshown = []string{"feed", "endpoint", "stack", "version", "config", "data_dir", "feeds", "backend"}

// logTail is a slog.Handler that keeps the last log records of the daemon as lines, and passes each
// line to a listener.
type logTail struct {
	mu    sync.Mutex
	lines []string
	each  func(line string)
}

// Enabled leaves out debug records, which are too frequent to read.
func (l *logTail) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle keeps a record and passes it on.
func (l *logTail) Handle(_ context.Context, r slog.Record) error {
	name := r.Message
	var fields strings.Builder
	r.Attrs(func(a slog.Attr) bool {
		switch text := a.Value.String(); {
		case a.Key == "event":
			name = text
		case text != "" && !slices.Contains(unshown, a.Key):
			fmt.Fprintf(&fields, " %s=%s", a.Key, text)
		}
		return true
	})
	line := fmt.Sprintf("%s %-20s%s", r.Time.Format("15:04:05.0"), name, fields.String())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	l.lines = l.lines[max(0, len(l.lines)-logLines):]
	l.each(line)
	return nil
}

// WithAttrs returns l. Only the loggers of libraries call it, and their records are shown without
// the attributes.
func (l *logTail) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup returns l, as WithAttrs does.
func (l *logTail) WithGroup(string) slog.Handler { return l }

// last returns the last lines, oldest first.
func (l *logTail) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
