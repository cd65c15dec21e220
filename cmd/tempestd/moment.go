package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moment is a flag with a point in time: a duration back from now, a day, or a time.
type moment struct {
	now func() time.Time
	at  time.Time // zero while it is not given
	set string
}

// momentForms says what is accepted.
const momentForms = `a duration back such as 10m or 7d, today, yesterday, a day such as 2026-11-01, or a time such as 2026-11-01T15:00:00Z`

// String implements pflag.Value.
func (m *moment) String() string { return m.set }

// Type implements pflag.Value.
func (m *moment) Type() string { return "time" }

// Set implements pflag.Value.
func (m *moment) Set(text string) error {
	at, err := parseMoment(m.now(), text)
	if err == nil {
		m.at, m.set = at, text
	}
	return err
}

// parseMoment reads a point in time. A day, and a time without a zone, are those of the place of
// now.
func parseMoment(now time.Time, text string) (time.Time, error) {
	year, month, day := now.Date()
	switch text {
	case "now":
		return now, nil
	case "today":
		return time.Date(year, month, day, 0, 0, 0, 0, now.Location()), nil
	case "yesterday":
		return time.Date(year, month, day-1, 0, 0, 0, 0, now.Location()), nil
	}
	if back, ok := parseBack(text); ok {
		return now.Add(-back), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04:05", time.DateTime} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("got %.40q; want %s", text, momentForms)
}

// parseBack reads a duration, which may have weeks and days before its hours: 7d, 1w, 1d12h.
func parseBack(text string) (back time.Duration, ok bool) {
	const longest = 100 * 365 * 24 * time.Hour
	rest, found := text, false
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		digits, after, has := strings.Cut(rest, unit.name)
		if !has {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil {
			return 0, false
		}
		back, rest, found = back+time.Duration(n)*unit.is, after, true
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, false
		}
		back, found = back+d, true
	}
	return back, found && back >= 0 && back <= longest
}
