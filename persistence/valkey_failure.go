package persistence

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// replyReasons says what an error of the server's means, by its first word. What is not here is a fault that time does not mend.
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
	"BUSY":        "busy", // another client's script runs
	"UNBLOCKED":   "busy",
	"NOSCRIPT":    "busy",
	"NOAUTH":      "refused", // what an operator can mend while we wait: nothing is lost meanwhile
	"WRONGPASS":   "refused",
	"NOPERM":      "refused",
	"DENIED":      "refused", // the same: it wants a password to be set first
	"MAXCLIENTS":  "busy",
}

// failure turns what the client library or the server said into the store's errors. The end of the caller's own context stays what it is.
func (v *Valkey) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrStoreClosed) {
		return ErrStoreClosed
	}
	return classify(v.where(), err)
}

// where is the store as errors name it.
func (v *Valkey) where() string { return "valkey at " + strings.Join(v.opt.Addresses, ",") }

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
		if reason, ok := replyReasons[word]; ok {
			return &UnavailableError{Store: where, Reason: reason, Err: err}
		}
		return fmt.Errorf("%s: %w", where, err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &UnavailableError{Store: where, Reason: "timeout", Err: errors.New("it did not answer in time")}
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
	away, ok := errors.AsType[turnedAway](err)
	return string(away), ok
}
