package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tempestd/internal/plain"
	"tempestd/messages"
)

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns the current number of columns of w, or 0 if it is no terminal.
func width(w any) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}

// fit cuts each line to a number of columns, because lines that wrap destroy a view. 0 means no
// limit.
func fit(s string, columns int) string {
	if columns <= 0 {
		return s
	}
	return lipgloss.NewStyle().MaxWidth(columns).Render(s)
}

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

// printJSON writes v as JSON on one line.
func printJSON(w io.Writer, v any) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(plain.Escape(nil, line.Bytes()))
	return err
}

// palette holds the colours of one output. They are off unless the output is a terminal with
// colours and NO_COLOR is not set.
type palette struct{ good, busy, bad, faint, strong lipgloss.Style }

func newPalette(w io.Writer) palette {
	r := lipgloss.NewRenderer(w)
	colour := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	return palette{good: colour("2"), busy: colour("3"), bad: colour("1"), faint: r.NewStyle().Faint(true), strong: r.NewStyle().Bold(true)}
}

// state returns a feed's state in its colour.
func (p palette) state(s messages.FeedState) string {
	switch s {
	case messages.StateLive:
		return p.good.Render(string(s))
	case messages.StateFailed, messages.StateGapped:
		return p.bad.Render(string(s))
	case messages.StatePaused, messages.StateStopped:
		return p.faint.Render(string(s))
	}
	return p.busy.Render(string(s))
}

// table prints rows in columns that are as wide as their content. If the name of a column ends in
// '>', the column is aligned to the right.
func table(w io.Writer, p palette, columns []string, rows [][]string) {
	widths := make([]int, len(columns))
	right := make([]bool, len(columns))
	for i, c := range columns {
		columns[i], right[i] = strings.CutSuffix(c, ">")
		widths[i] = lipgloss.Width(columns[i])
		for _, row := range rows {
			widths[i] = max(widths[i], lipgloss.Width(row[i]))
		}
	}
	line := func(cells []string) string {
		var b strings.Builder
		for i, cell := range cells {
			pad := strings.Repeat(" ", widths[i]-lipgloss.Width(cell))
			switch {
			case right[i]:
				b.WriteString(pad + cell)
			case i < len(cells)-1:
				b.WriteString(cell + pad)
			default:
				b.WriteString(cell)
			}
			if i < len(cells)-1 {
				b.WriteString("  ")
			}
		}
		return strings.TrimRight(b.String(), " ")
	}
	fmt.Fprintln(w, p.faint.Render(line(columns)))
	for _, row := range rows {
		fmt.Fprintln(w, line(row))
	}
}

// showCount groups the digits of a number.
func showCount[T int | int64 | uint64](n T) string { return humanize.Comma(int64(n)) }

// showAge shows a duration in its two greatest units, as in "3m12s" and "5d4h". Below a minute it
// shows tenths of a second, below a second milliseconds.
func showAge(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// withoutRepairedFlag adds --without-repaired.
func withoutRepairedFlag(c *cobra.Command, unrepaired *bool) {
	c.Flags().BoolVar(unrepaired, "without-repaired", false, "leave out the events that were fetched to close gaps")
}

// excludeRepaired sets what --without-repaired wants in a filter.
func excludeRepaired(f *messages.ConsumerFilter, unrepaired bool) {
	if unrepaired {
		f.Repaired = "exclude"
	}
}
