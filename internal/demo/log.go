package demo

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// logLines is how many log events are kept.
const logLines = 6

// unshown are the fields that say nothing new in a demo.
var unshown = []string{"feed", "endpoint", "stack", "version", "config", "data_dir", "feeds", "backend"}

// logTail is a slog.Handler that keeps the last records of the daemon, a line each, and passes each on to a listener.
type logTail struct {
	mu    sync.Mutex
	lines []string
	each  func(line string)
}

// Enabled leaves out what happens too often to read.
func (l *logTail) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle keeps a record.
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

// WithAttrs is for the libraries' loggers, whose records are shown as they are.
func (l *logTail) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup is WithAttrs.
func (l *logTail) WithGroup(string) slog.Handler { return l }

// last is the last lines, oldest first.
func (l *logTail) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
