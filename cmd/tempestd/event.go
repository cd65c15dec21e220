package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"tempestd/internal/plain"
	"tempestd/messages"
	"tempestd/persistence"
)

// printJSON writes {"id":…,"event":…} on one line, with the event's bytes unchanged, except that
// characters that a terminal would obey are written as JSON escapes.
func (t *tail) printJSON(f persistence.Entry) error {
	event := []byte(f.Event)
	if bytes.ContainsAny(event, "\r\n") { // in valid JSON they are only between tokens
		var compact bytes.Buffer
		if err := json.Compact(&compact, event); err != nil {
			return fmt.Errorf("entry %v: %w", f.ID, err)
		}
		event = compact.Bytes()
	}
	t.line = fmt.Appendf(t.line[:0], `{"id":"%v","event":`, f.ID)
	t.line = append(plain.Escape(t.line, event), "}\n"...)
	_, err := t.out.Write(t.line)
	return err
}

// reader prints entries in a readable form.
type reader struct {
	terminal, out io.Writer
	palette       palette
}

// newReader returns a reader that writes to out in the colours and the width of terminal.
func newReader(terminal, out io.Writer) reader { return reader{terminal, out, newPalette(terminal)} }

// shownEvent holds the fields of an event that a reader shows.
type shownEvent struct {
	DID    string `json:"did"`
	TimeUS int64  `json:"time_us"`
	Kind   string `json:"kind"`
	Commit struct {
		Operation  string `json:"operation"`
		Collection string `json:"collection"`
		RKey       string `json:"rkey"`
		Record     struct {
			Text    string          `json:"text"`
			Subject json.RawMessage `json:"subject"`
		} `json:"record"`
	} `json:"commit"`
	Identity struct {
		Handle string `json:"handle"`
	} `json:"identity"`
	Account struct {
		Active bool   `json:"active"`
		Status string `json:"status"`
	} `json:"account"`
	Gap struct {
		FromUS int64  `json:"from_us"`
		ToUS   int64  `json:"to_us"`
		Cause  string `json:"cause"`
		// Of a closing entry: what became of the gap.
		State     messages.GapState `json:"state"`
		Recovered int64             `json:"recovered"`
	} `json:"gap"`
}

// maxText is the most characters of a post's text that are shown.
const maxText = 60

func (r reader) print(f persistence.Entry) error {
	_, err := fmt.Fprintln(r.out, fit(r.line(f), width(r.terminal)))
	return err
}

// line returns one entry as one line.
func (r reader) line(f persistence.Entry) string {
	var e shownEvent
	_ = json.Unmarshal(f.Event, &e) // fields of unexpected types stay empty
	p := r.palette
	head := p.faint.Render(time.UnixMilli(int64(f.ID.MS)).Format("15:04:05.000"))
	switch e.Kind {
	case "commit":
		subject := plain.Line(e.DID + "/" + e.Commit.RKey)
		return fmt.Sprintf("%s %s %s %s%s", head, p.operation(e.Commit.Operation), p.strong.Render(plain.Line(e.Commit.Collection)), p.faint.Render(subject), r.about(e))
	case "identity":
		return fmt.Sprintf("%s %s %s %s", head, p.busy.Render("identity"), plain.Line(e.DID), plain.Line(e.Identity.Handle))
	case "account":
		state := "active"
		if !e.Account.Active {
			state = "inactive " + plain.Line(e.Account.Status)
		}
		return fmt.Sprintf("%s %s %s %s", head, p.busy.Render("account "), plain.Line(e.DID), state)
	case "gap":
		until := "now"
		if e.Gap.ToUS > 0 {
			until = showMicros(e.Gap.ToUS)
		}
		said := fmt.Sprintf("from %s to %s (%s)", showMicros(e.Gap.FromUS), until, e.Gap.Cause)
		switch e.Gap.State {
		case messages.GapRepaired, messages.GapPartly:
			said = fmt.Sprintf("%s: %s events recovered %s", e.Gap.State, showCount(e.Gap.Recovered), said)
			return fmt.Sprintf("%s %s %s", head, p.gap(e.Gap.State, "gap     "), plain.Line(said))
		case messages.GapUnrepairable:
			said = "events are missing for good " + said
		default:
			said = "events are missing " + said
		}
		return fmt.Sprintf("%s %s %s", head, p.bad.Render("gap     "), p.bad.Render(plain.Line(said)))
	}
	return fmt.Sprintf("%s %-8s %s", head, clip(plain.Line(e.Kind), 8), plain.Line(e.DID))
}

// operation returns a commit's operation as a column of fixed width.
func (p palette) operation(op string) string {
	padded := fmt.Sprintf("%-8s", clip(plain.Line(op), 8))
	switch op {
	case "create":
		return p.good.Render(padded)
	case "delete":
		return p.bad.Render(padded)
	}
	return p.busy.Render(padded)
}

// about returns the text of a post, or the subject of a record.
func (r reader) about(e shownEvent) string {
	if text := strings.TrimSpace(plain.Line(e.Commit.Record.Text)); text != "" {
		return fmt.Sprintf(" %q", clip(text, maxText))
	}
	var uri string
	var ref struct{ URI string }
	if json.Unmarshal(e.Commit.Record.Subject, &uri) != nil && json.Unmarshal(e.Commit.Record.Subject, &ref) == nil {
		uri = ref.URI
	}
	if uri == "" {
		return ""
	}
	return r.palette.faint.Render(" → " + clip(plain.Line(uri), 90))
}

// clip cuts s to at most most characters.
func clip(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}
