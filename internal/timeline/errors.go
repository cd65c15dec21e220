package timeline

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrAnswer says that a server's answer is not what the method gives.
	ErrAnswer = errors.New("not the answer to what was asked")
	// ErrNoRecord says why an item of a timeline was skipped: it names no record, or one that is
	// gone.
	ErrNoRecord = errors.New("the timeline shows no record of it")
)

// LoginWait is the error while no login is tried: the ones before had no lasting success.
type LoginWait struct {
	Until time.Time
	Err   error // how the login before ended, nil when it worked, or when that was before a restart
}

func (w *LoginWait) Error() string {
	text := fmt.Sprintf("no login before %s", w.Until.UTC().Format(time.RFC3339))
	if w.Err != nil {
		text += ": " + w.Err.Error()
	}
	return text
}

func (w *LoginWait) Unwrap() error { return w.Err }
