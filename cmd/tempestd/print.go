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

// isTerminal says whether somebody looks at w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width is how many columns w shows now, 0 when it is no terminal.
func width(w any) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}

// fit cuts each line to a number of columns, 0 for any: a view is torn by lines that wrap.
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

// printJSON writes v on one line.
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

// palette is the colours of one output. They are all off unless it is a terminal that has them and NO_COLOR is not set.
type palette struct{ good, busy, bad, faint, strong lipgloss.Style }

func newPalette(w io.Writer) palette {
	r := lipgloss.NewRenderer(w)
	colour := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	return palette{good: colour("2"), busy: colour("3"), bad: colour("1"), faint: r.NewStyle().Faint(true), strong: r.NewStyle().Bold(true)}
}

// state colours a feed's state.
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

// table prints rows in columns as wide as they need to be. A column whose name ends in '>' is aligned to the right.
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

// showAge is a duration in its two greatest units, "3m12s", "5d4h"; below a minute to a tenth of a second.
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
