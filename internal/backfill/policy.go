package backfill

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tempestd/messages"
)

// Policy says what is done about a feed's gaps. Its methods are pure functions.
type Policy struct {
	// Sources are those that the feed has, in the order in which they are asked.
	Sources []messages.GapSource
	// Automatic says that gaps are fetched without being asked for. Otherwise an operator orders
	// each repair.
	Automatic bool
	Budget    int64 // the most bytes that are downloaded for a gap; 0 sets no bound
	Pace      int   // the most events a second that are appended for repairs; 0 sets no bound
}

const (
	// triesEach is how often in a row a source may fail before the next one is asked.
	triesEach = 3
	// firstWait and lastWait bound the waits after failures, which double.
	firstWait = 10 * time.Second
	lastWait  = 30 * time.Minute
)

// Choice is what to do next.
type Choice struct {
	Row   messages.GapRow // the row as it is to be stored; without an ID if nothing is due
	Fetch bool            // fetch from Row.Source. Otherwise only the row changes.
	At    time.Time       // when to choose again if nothing is due; zero for "when a row changes"
}

// Choose chooses the gap that is fetched next, and its source: the oldest gap that is due. failures
// counts, by the row's ID, the attempts in a row that failed.
func (p Policy) Choose(rows []messages.GapRow, failures map[string]int, now time.Time) (c Choice) {
	for _, row := range rows {
		switch {
		case row.State.Final(), row.State == messages.GapOpen && !p.Automatic:
			continue
		case row.State == messages.GapWaiting && row.RetryAt.After(now):
			if c.At.IsZero() || row.RetryAt.Before(c.At) {
				c.At = row.RetryAt
			}
			continue
		case c.Row.ID != "" && !row.OpenedAt.Before(c.Row.OpenedAt):
			continue
		}
		c.Row = row
	}
	if c.Row.ID == "" || len(p.Sources) == 0 {
		c.Row = messages.GapRow{}
		return c
	}
	left := p.left(c.Row)
	if len(left) == 0 {
		c.Row = p.closed(c.Row)
		return c
	}
	c.Fetch = true
	c.Row.Source = left[failures[c.Row.ID]/triesEach%len(left)]
	c.Row.State, c.Row.RetryAt, c.Row.Why = messages.GapRepairing, time.Time{}, ""
	c.Row.Attempts++
	return c
}

// left returns the sources that may have something.
func (p Policy) left(row messages.GapRow) []messages.GapSource {
	return slices.DeleteFunc(slices.Clone(p.Sources), func(s messages.GapSource) bool { return slices.Contains(row.Tried, s) })
}

// After returns the row after a fetch from row.Source that ended with a result or an error. failures
// counts the attempts in a row that failed, with this one.
func (p Policy) After(row messages.GapRow, result Result, err error, failures int, now time.Time) messages.GapRow {
	var wait *WaitError
	row.Tried = slices.Clone(row.Tried)
	switch {
	case err == nil:
		row.Missing = joined(row.Missing, result.Missing)
		row.RestFromUS, row.RestToUS = result.LackFromUS, result.LackToUS
		switch {
		case result.Unread:
			row.Why = fmt.Sprintf("%s: not everything could be read", row.Source)
		case result.LackToUS == 0:
			row.State, row.Why = messages.GapRepaired, ""
			return row
		default:
			row.Why = fmt.Sprintf("%s has nothing from %s to %s", row.Source, shown(result.LackFromUS), shown(result.LackToUS))
		}
	case errors.Is(err, ErrNothing), errors.Is(err, ErrPermanent):
		row.Why = refused(row.Source, err)
	case errors.As(err, &wait):
		row.State, row.RetryAt, row.Why = messages.GapWaiting, wait.Until, WaitingFor(row.Source, wait.Why)
		return row
	default:
		row.State, row.RetryAt = messages.GapWaiting, now.Add(min(firstWait<<min(failures-1, 10), lastWait))
		row.Why = WaitingFor(row.Source, err.Error())
		return row
	}
	row.Why = line(row.Why)
	if !slices.Contains(row.Tried, row.Source) {
		row.Tried = append(row.Tried, row.Source)
	}
	if len(p.left(row)) == 0 {
		return p.closed(row)
	}
	row.State = messages.GapRepairing // the next source is asked at once
	return row
}

// WaitingFor is the reason of a row whose source waits.
func WaitingFor(source messages.GapSource, why string) string {
	return line(fmt.Sprintf("%s: %s", source, strings.TrimPrefix(why, string(source)+": ")))
}

// refused is the reason of a row whose source has nothing, or refuses. The source is named once.
func refused(source messages.GapSource, err error) string {
	why := err.Error()
	for _, kind := range []error{ErrNothing, ErrPermanent} {
		if rest, ok := strings.CutPrefix(why, kind.Error()+": "); ok {
			why = fmt.Sprintf("%v: %s", kind, strings.TrimPrefix(rest, string(source)+": "))
		}
	}
	return fmt.Sprintf("%s: %s", source, why)
}

// closed is a row for which there is no other source.
func (p Policy) closed(row messages.GapRow) messages.GapRow {
	row.State = messages.GapUnrepairable
	if row.Recovered+row.Held > 0 {
		row.State = messages.GapPartly
		if row.RestToUS > 0 {
			row.Missing = joined(row.Missing, fmt.Sprintf("everything from %s to %s", shown(row.RestFromUS), shown(row.RestToUS)))
		}
	}
	return row
}

// Ordered is the row once an operator has ordered its repair: whatever was tried is tried again.
func Ordered(row messages.GapRow, now time.Time) messages.GapRow {
	row.State, row.Source, row.RetryAt, row.Tried = messages.GapWaiting, "", now, nil
	row.Why, row.Missing, row.RestFromUS, row.RestToUS = "ordered by an operator", "", 0, 0
	return row
}

// Dismissed is the row once an operator has given the gap up.
func Dismissed(row messages.GapRow, why string) messages.GapRow {
	row.State, row.RetryAt, row.Why = messages.GapUnrepairable, time.Time{}, "dismissed by an operator"
	if row.Recovered > 0 {
		row.State = messages.GapPartly
	}
	if why != "" {
		row.Why = line(row.Why + ": " + why)
	}
	return row
}

// joined adds a sentence to others, once.
func joined(all, more string) string {
	switch {
	case more == "" || strings.Contains(all, more):
		return all
	case all == "":
		return more
	}
	return line(all + "; " + more)
}

const maxLine = 300 // bytes of a reason

// line bounds a text for a row.
func line(s string) string {
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	return s
}

func shown(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }
