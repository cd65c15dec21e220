package archive

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"tempestd/internal/archive/jss"
)

// What a call or a sweep can fail with. A refusal is a *RefusedError as well, and a fault in a
// segment is a *SegmentError.
var (
	// ErrQuota: the key's quota is used up. RefusedError.Until says until when.
	ErrQuota = errors.New("over the archive's quota")
	// ErrUnauthorized: the archive wants a key, or refuses the one it got (401, 403).
	ErrUnauthorized = errors.New("the archive refuses the key, or wants one")
	// ErrNotReady: the server cannot serve its archive now (503).
	ErrNotReady = errors.New("the archive is not ready")
	// ErrGone: the server has no such segment or block (404).
	ErrGone = errors.New("not in the archive")
	// ErrNoArchive: the server does not have the archive's calls.
	ErrNoArchive = errors.New("the server has no archive")
	// ErrChanged: a segment was rewritten after the plan was made.
	ErrChanged = errors.New("the segment has changed since the plan")
	// ErrRefused: the server does not accept the request, and would not accept it again.
	ErrRefused = errors.New("the archive refuses the request")
	// ErrRedirect: the server redirects to another host. The client does not follow, because the key
	// belongs to one host.
	ErrRedirect = errors.New("the archive redirects to another place")
	// ErrBadAnswer: an answer is not what the protocol says, or contradicts itself.
	ErrBadAnswer = errors.New("the archive's answer makes no sense")
	// ErrTooLarge: an answer, a segment's footer or a block is larger than what is accepted.
	ErrTooLarge = jss.ErrTooLarge
	// ErrStuck: a page of a plan does not advance.
	ErrStuck = errors.New("the archive's plan does not advance")
	// ErrReplaced: the archive is that of another instance. Its sequence numbers mean something else.
	ErrReplaced = errors.New("the archive is another instance's")
	// ErrBudget: the next download would exceed the sweep's budget. A sweep from the last point, with
	// a new budget, continues.
	ErrBudget = errors.New("the budget for downloads is used up")
	// ErrStopped: the consumer returned no batch.
	ErrStopped = errors.New("the consumer stopped the sweep")
	// ErrBadSweep: the sweep cannot begin: its bounds, its filter or its point make no sense.
	ErrBadSweep = errors.New("invalid sweep")

	errStalled = errors.New("the server sends nothing more")
	errCut     = errors.New("the answer was cut")
	errEnd     = fmt.Errorf("%w: it ends too early", errCut)
	errNoRange = errors.New("the server ignores ranges")
)

// RefusedError is an answer that is not what was asked for. It matches one of the errors above.
type RefusedError struct {
	Kind   error
	Route  string // "getBlock"
	Status int    // HTTP status
	Name   string // the server's name for the error, "" if it gave none
	Text   string // its reason: one line, printable, bounded; for people alone
	// Until is the time before which the server does not want to be asked again, by our clock; zero
	// if it did not say.
	Until time.Time
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("%v: %d %s", e.Kind, e.Status, http.StatusText(e.Status))
	for _, more := range []string{e.Name, e.Text} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

func (e *RefusedError) Unwrap() error { return e.Kind }

// SegmentError is a fault in one segment, which ends a sweep. A sweep after MaxSeq leaves the rest of
// the segment out.
type SegmentError struct {
	Segment        string
	Block          int // -1 for the segment's header and footer
	MinSeq, MaxSeq uint64
	Err            error
}

func (e *SegmentError) Error() string {
	if e.Block < 0 {
		return fmt.Sprintf("archive segment %s (%d to %d): %v", e.Segment, e.MinSeq, e.MaxSeq, e.Err)
	}
	return fmt.Sprintf("archive segment %s (%d to %d), block %d: %v", e.Segment, e.MinSeq, e.MaxSeq, e.Block, e.Err)
}

func (e *SegmentError) Unwrap() error { return e.Err }

func badAnswer(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadAnswer}, args...)...)
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{jss.ErrCorrupt}, args...)...)
}

// temporary says whether the same request may succeed soon.
func temporary(err error) bool {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return errors.Is(r.Kind, ErrNotReady) || r.Status == http.StatusRequestTimeout || r.Status == http.StatusTooEarly || r.Status == http.StatusTooManyRequests
	}
	_, network := errors.AsType[*networkError](err)
	return network || errors.Is(err, errCut) || errors.Is(err, errStalled)
}

// changed says whether a new plan may get around the error.
func changed(err error) bool { return errors.Is(err, ErrChanged) || errors.Is(err, ErrGone) }

// networkError is a request without an answer.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }
func (e *networkError) Unwrap() error { return e.err }

const maxText = 200 // bytes of a server's text that are repeated

// printable turns a server's text into one bounded line.
func printable(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}
