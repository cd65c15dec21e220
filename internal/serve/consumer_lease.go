package serve

import (
	"fmt"
	"net/http"
	"time"

	"tempestd/persistence"
)

// Bounds of leases.
const (
	minLease     = time.Second
	maxLease     = time.Hour
	defaultLease = 30 * time.Second
)

const acceptedToken = "the token that next gave with the batch"

func errLeaseLost(token string) error {
	return &apiError{status: http.StatusConflict, name: nameLeaseLost, message: "token: " + quote(token) +
		" holds no batch: it was never given, or the batch went out again or was given back since; nothing has changed"}
}

// leaseBody reads the token, and the milliseconds of the other field.
func leaseBody(r *http.Request, other string, ms *millis) (token string, err error) {
	var given *string
	fields := []field{{"token", &given, acceptedToken}}
	if ms != nil {
		fields = append(fields, field{other, ms, ms.accepted()})
	}
	if err := decodeBody(r, fields...); err != nil {
		return "", err
	}
	if given == nil {
		return "", &apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: "token: missing; accepted: " + acceptedToken}
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

func (s *Server) ackBatch(w http.ResponseWriter, r *http.Request) error {
	token, err := leaseBody(r, "", nil)
	if err != nil {
		return err
	}
	var moved bool
	return s.changeLease(w, r, &moved, func(at time.Time, state *persistence.ConsumerState) (err error) {
		moved, err = ack(state, at, token)
		return err
	})
}

func (s *Server) nackBatch(w http.ResponseWriter, r *http.Request) error {
	delay := millis{high: maxLease}
	token, err := leaseBody(r, "delay_ms", &delay)
	if err != nil {
		return err
	}
	return s.changeLease(w, r, nil, func(at time.Time, state *persistence.ConsumerState) error { return nack(state, at, token, delay.value) })
}

func (s *Server) extendLease(w http.ResponseWriter, r *http.Request) error {
	lease := millis{low: minLease, high: maxLease, value: defaultLease}
	token, err := leaseBody(r, "lease_ms", &lease)
	if err != nil {
		return err
	}
	return s.changeLease(w, r, nil, func(at time.Time, state *persistence.ConsumerState) error {
		return extend(state, at, token, lease.value)
	})
}

// changeLease changes the lease and answers with the result.
func (s *Server) changeLease(w http.ResponseWriter, r *http.Request, moved *bool, change func(time.Time, *persistence.ConsumerState) error) error {
	state, err := s.changeConsumer(r, func(at time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		return state, change(at, state)
	})
	if err != nil {
		return err
	}
	answer := leaseAnswer{Acked: state.Acked, Moved: moved}
	if moved == nil {
		until := state.Lease.Until.UTC()
		answer.Until = &until
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// until formats a time, and the milliseconds until then, for clients with another clock.
func until(at, now time.Time) string {
	return fmt.Sprintf(`"until":"%s","until_ms":%d,`, at.UTC().Format(time.RFC3339Nano), max(at.Sub(now), 0).Milliseconds())
}
