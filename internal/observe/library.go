package observe

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Library returns a logger for a library that has no other way to tell of its troubles. Each record
// is an event of the catalogue, with the library's own words: an error LibraryFailed, a warning
// LibraryWarned, and anything less LibrarySaid.
func (o *Observer) Library(name string) *slog.Logger {
	return slog.New(&libraryHandler{observer: o, name: name})
}

type libraryHandler struct {
	observer *Observer
	name     string
	attrs    []slog.Attr // of WithAttrs
}

func (h *libraryHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || h.observer.log.Enabled(ctx, slog.LevelDebug)
}

func (h *libraryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(with.attrs[:len(with.attrs):len(with.attrs)], attrs...)
	return &with
}

// WithGroup returns the handler itself: the names of fields are only a part of the text.
func (h *libraryHandler) WithGroup(string) slog.Handler { return h }

func (h *libraryHandler) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(strings.TrimSpace(r.Message))
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%v", a.Key, a.Value.Resolve())
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	event := LibrarySaid
	switch {
	case r.Level >= slog.LevelError:
		event = LibraryFailed
	case r.Level >= slog.LevelWarn:
		event = LibraryWarned
	}
	h.observer.Emit(event, "", "library", h.name, "error", text.String())
	return nil
}
