package persistence

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// replyReasons says what an error of the server's means, by its first word. Any other is "refused":
// what an operator can mend while we wait, and nothing is lost meanwhile.
var replyReasons = map[string]string{
	"LOADING":     "loading", // it reads its data after a start
	"MASTERDOWN":  "readonly",
	"READONLY":    "readonly", // it has become a replica
	"OOM":         "full",
	"MISCONF":     "full", // it cannot save to its disk, and says no to writes
	"NOREPLICAS":  "readonly",
	"CLUSTERDOWN": "cluster",
	"MOVED":       "cluster",
	"ASK":         "cluster",
	"TRYAGAIN":    "cluster",
	"CROSSSLOT":   "cluster",
	"BUSY":        "busy", // another client's script runs
	"UNBLOCKED":   "busy",
	"NOSCRIPT":    "busy",
	"MAXCLIENTS":  "busy",
}

const refused = "refused"

// failure turns what the client library or the server said into the store's errors. The end of the caller's own context stays what it is.
func (v *Valkey) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrStoreClosed) {
		return ErrStoreClosed
	}
	if away, ok := errors.AsType[*UnavailableError](err); ok {
		return away
	}
	return classify(v.where(), err)
}

// where is the store as errors name it.
func (v *Valkey) where() string { return "valkey at " + strings.Join(v.opt.Addresses, ",") }

// refuse is the error about something that the server holds or says and that this version cannot
// use. Like all that only an operator can mend it is waited for.
func (v *Valkey) refuse(format string, args ...any) error {
	return &UnavailableError{Store: v.where(), Reason: refused, Err: errors.New(printable(fmt.Sprintf(format, args...)))}
}

func classify(where string, err error) error {
	if text, ok := reply(err); ok {
		word, _, _ := strings.Cut(text, " ")
		if strings.Contains(text, "max number of clients") {
			word = "MAXCLIENTS"
		}
		// An error inside of a script is reported behind the script's name.
		if strings.Contains(text, "OOM command not allowed") {
			word = "OOM"
		}
		reason := replyReasons[word]
		if reason == "" {
			reason = refused
		}
		return &UnavailableError{Store: where, Reason: reason, Err: errors.New(words(text))}
	}
	if valkey.IsParseErr(err) {
		return &UnavailableError{Store: where, Reason: refused, Err: errors.New("its answer is none that this version knows: " + printable(err.Error()))}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &UnavailableError{Store: where, Reason: "timeout", Err: errors.New("it did not answer in time")}
	}
	if errors.Is(err, context.Canceled) { // another caller's, whose connection this one waited for
		return &UnavailableError{Store: where, Reason: "connection", Err: errors.New("the connection was not made")}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return &UnavailableError{Store: where, Reason: "timeout", Err: err}
	}
	return &UnavailableError{Store: where, Reason: "connection", Err: err}
}

// reply is what the server said, where that is the failure.
func reply(err error) (text string, ok bool) {
	if e, ok := valkey.IsValkeyErr(err); ok {
		return e.Error(), true
	}
	if e, ok := errors.AsType[*valkey.ValkeyError](err); ok {
		return e.Error(), true
	}
	away, ok := errors.AsType[turnedAway](err)
	return string(away), ok
}

// words are the server's own, as they may be shown: without the arguments that it repeats of a
// command it does not know, which may be a password (I10).
func words(text string) string {
	text, _, _ = strings.Cut(text, ", with args beginning with")
	return printable(text)
}

// shownBytes is how much of what a server says is shown.
const shownBytes = 250

// printable is one short line of text.
func printable(text string) string {
	if len(text) > shownBytes {
		text = strings.ToValidUTF8(text[:shownBytes], "") + "…"
	}
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
