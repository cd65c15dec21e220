package consumer

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/persistence"
)

// Bounds of leases.
const (
	minLease     = time.Second
	maxLease     = time.Hour
	defaultLease = 30 * time.Second
)

const acceptedToken = "the token that next gave with the batch"

// leaseError turns an error of the state machine into a response.
func leaseError(err error, token string) error {
	if !errors.Is(err, ErrLeaseLost) {
		return err
	}
	return &api.Error{Status: http.StatusConflict, Name: api.NameLeaseLost, Message: "token: " + api.Quote(token) +
		" holds no batch: it was never given, or the batch went out again or was given back since; nothing has changed"}
}

// leaseBody reads the token, and the milliseconds of the other field.
func leaseBody(r *http.Request, other string, ms *api.Millis) (token string, err error) {
	var given *string
	fields := []api.Field{{Name: "token", Into: &given, Accepted: acceptedToken}}
	if ms != nil {
		fields = append(fields, api.Field{Name: other, Into: ms, Accepted: ms.Accepted()})
	}
	if err := api.DecodeBody(r, fields...); err != nil {
		return "", err
	}
	if given == nil {
		return "", api.Missing("token", acceptedToken)
	}
	return *given, nil
}

// leaseAnswer is the response to an ack, a nack or an extension.
type leaseAnswer struct {
	Acked persistence.EntryID `json:"acked"` // the position
	// Moved is only in the answer to an ack. It is false if the position was there already.
	Moved *bool      `json:"moved,omitempty"`
	Until *time.Time `json:"until,omitempty"` // when the batch goes out again
}

func (c *Consumers) ack(w http.ResponseWriter, r *http.Request) error {
	token, err := leaseBody(r, "", nil)
	if err != nil {
		return err
	}
	var moved bool
	return c.changeLease(w, r, token, &moved, func(s State, now time.Time) (next State, err error) {
		next, moved, err = s.Ack(now, token)
		return next, err
	})
}

func (c *Consumers) nack(w http.ResponseWriter, r *http.Request) error {
	delay := api.Millis{High: maxLease}
	token, err := leaseBody(r, "delay_ms", &delay)
	if err != nil {
		return err
	}
	return c.changeLease(w, r, token, nil, func(s State, now time.Time) (State, error) { return s.Nack(now, token, delay.Value) })
}

func (c *Consumers) extend(w http.ResponseWriter, r *http.Request) error {
	lease := api.Millis{Low: minLease, High: maxLease, Value: defaultLease}
	token, err := leaseBody(r, "lease_ms", &lease)
	if err != nil {
		return err
	}
	return c.changeLease(w, r, token, nil, func(s State, now time.Time) (State, error) { return s.Extend(now, token, lease.Value) })
}

// changeLease changes the token's lease and answers with the result.
func (c *Consumers) changeLease(w http.ResponseWriter, r *http.Request, token string, moved *bool, change func(State, time.Time) (State, error)) error {
	state, err := c.change(r, change)
	if err != nil {
		return leaseError(err, token)
	}
	answer := leaseAnswer{Acked: state.Acked, Moved: moved}
	if moved == nil {
		until := state.Lease.Until.UTC()
		answer.Until = &until
	}
	api.WriteJSON(w, http.StatusOK, answer)
	return nil
}

// until formats a time, and the milliseconds until then, for clients with another clock.
func until(at, now time.Time) string {
	return fmt.Sprintf(`"until":"%s","until_ms":%d,`, at.UTC().Format(time.RFC3339Nano), max(at.Sub(now), 0).Milliseconds())
}
