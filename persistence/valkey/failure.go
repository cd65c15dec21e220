package valkey

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// replyReasons gives the meaning of a server's error by its first word. Any other error is
// ReasonRefused: an operator can correct its cause while the daemon waits, and nothing is lost
// meanwhile.
var replyReasons = map[string]string{
	"LOADING":     persistence.ReasonLoading, // it reads its data after a start
	"MASTERDOWN":  persistence.ReasonReadOnly,
	"READONLY":    persistence.ReasonReadOnly, // it has become a replica
	"OOM":         persistence.ReasonFull,
	"MISCONF":     persistence.ReasonFull, // it cannot save to its disk and refuses writes
	"NOREPLICAS":  persistence.ReasonReadOnly,
	"CLUSTERDOWN": persistence.ReasonCluster,
	"MOVED":       persistence.ReasonCluster,
	"ASK":         persistence.ReasonCluster,
	"TRYAGAIN":    persistence.ReasonCluster,
	"CROSSSLOT":   persistence.ReasonCluster,
	"BUSY":        persistence.ReasonBusy, // another client's script runs
	"UNBLOCKED":   persistence.ReasonBusy,
	"NOSCRIPT":    persistence.ReasonBusy,
	"MAXCLIENTS":  persistence.ReasonBusy,
}

// failure turns an error of the client library or of the server into an error of the store. If the
// caller's context has ended, it returns the context's error.
func (v *Store) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, persistence.ErrStoreClosed) {
		return persistence.ErrStoreClosed
	}
	if away, ok := errors.AsType[*persistence.UnavailableError](err); ok {
		return away
	}
	return classify(v.where(), err)
}

// where is the name of the store in errors.
func (v *Store) where() string { return "valkey at " + strings.Join(v.opt.Addresses, ",") }

// refuse returns the error for data or an answer of the server that this version cannot use. Like
// every fault that only an operator can correct, it is an UnavailableError, and callers try again. If
// one of args is the error of an answer that does not fit, they try again on another connection.
func (v *Store) refuse(format string, args ...any) error {
	for _, arg := range args {
		if err, ok := arg.(error); ok && isMisfit(err) {
			v.commands.doubt(v.clock.Now())
		}
	}
	return &persistence.UnavailableError{Store: v.where(), Reason: persistence.ReasonRefused, Err: errors.New(printable(fmt.Sprintf(format, args...)))}
}

func classify(where string, err error) error {
	if text, ok := reply(err); ok {
		word, _, _ := strings.Cut(text, " ")
		if strings.Contains(text, "max number of clients") {
			word = "MAXCLIENTS"
		}
		// The server puts the script's name before an error inside a script.
		if strings.Contains(text, "OOM command not allowed") {
			word = "OOM"
		}
		reason := replyReasons[word]
		if reason == "" {
			reason = persistence.ReasonRefused
		}
		return &persistence.UnavailableError{Store: where, Reason: reason, Err: errors.New(words(text))}
	}
	if valkeygo.IsParseErr(err) {
		return &persistence.UnavailableError{Store: where, Reason: persistence.ReasonRefused, Err: errors.New("its answer is none that this version knows: " + printable(err.Error()))}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &persistence.UnavailableError{Store: where, Reason: persistence.ReasonTimeout, Err: errors.New("it did not answer in time")}
	}
	if errors.Is(err, context.Canceled) { // another caller's, whose connection this call waited for
		return &persistence.UnavailableError{Store: where, Reason: persistence.ReasonConnection, Err: errors.New("the connection was not made")}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return &persistence.UnavailableError{Store: where, Reason: persistence.ReasonTimeout, Err: err}
	}
	return &persistence.UnavailableError{Store: where, Reason: persistence.ReasonConnection, Err: err}
}

// reply returns the server's words if the server's answer is the failure.
func reply(err error) (text string, ok bool) {
	if e, ok := valkeygo.IsValkeyErr(err); ok {
		return e.Error(), true
	}
	if e, ok := errors.AsType[*valkeygo.ValkeyError](err); ok {
		return e.Error(), true
	}
	away, ok := errors.AsType[rejection](err)
	return string(away), ok
}

// words returns the server's words in a form that may be shown. For an unknown command the server
// repeats the arguments, which may contain a password (I10); they are cut off.
func words(text string) string {
	text, _, _ = strings.Cut(text, ", with args beginning with")
	return printable(text)
}

// shownBytes is how many bytes of a server's words are shown.
const shownBytes = 250

// printable returns text as one short line.
func printable(text string) string {
	if len(text) > shownBytes {
		text = strings.ToValidUTF8(text[:shownBytes], "") + "…"
	}
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
