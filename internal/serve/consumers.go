package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

const acceptedStart = acceptedAfter + `, or "now" for what is appended from now on`

// definition is what a client specifies to create a consumer. A second PUT compares it with the
// stored one. The lists are sorted and have no repeats.
type definition struct {
	After  string                  `json:"after"` // an ID, or "now"
	Filter messages.ConsumerFilter `json:"filter,omitzero"`
}

// fromNow is the start of a consumer that gets only entries appended after its creation.
const fromNow = "now"

// parseDefinition reads the body of a PUT.
func parseDefinition(r *http.Request) (d definition, err error) {
	var after *string
	var filter json.RawMessage
	err = decodeBody(r,
		field{"after", &after, acceptedStart},
		field{"filter", &filter, "an object with the fields collections, dids, kinds"})
	if err != nil {
		return d, err
	}
	if d.After, err = parseStart(after); err != nil || filter == nil {
		return d, err
	}
	err = decodeObject("filter", filter,
		field{"collections", &d.Filter.Collections, "a list of " + acceptedIn["collections"]},
		field{"dids", &d.Filter.DIDs, "a list of " + acceptedIn["dids"]},
		field{"kinds", &d.Filter.Kinds, "a list of " + acceptedIn["kinds"]})
	if err != nil {
		return d, err
	}
	for _, list := range []*[]string{&d.Filter.Collections, &d.Filter.DIDs, &d.Filter.Kinds} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return d, checkFilter(jetstream.Filter(d.Filter))
}

// parseStart reads the body's field "after" into the form that definitions have. It has no default,
// for the reason given at params.after.
func parseStart(after *string) (string, error) {
	if after == nil {
		return "", &apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: "after: missing; accepted: " + acceptedStart}
	}
	if *after == fromNow {
		return fromNow, nil
	}
	cursor, err := persistence.ParseStreamCursor(*after)
	if err != nil {
		return "", invalid("after", *after, acceptedStart)
	}
	id, err := cursor.Exclusive()
	if err != nil {
		return "", invalid("after", *after, acceptedStart)
	}
	return id.String(), nil
}

// differs describes how the definition differs from the one that is stored; "" if it does not.
func (d definition) differs(there definition) string {
	var parts []string
	add := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			parts = append(parts, fmt.Sprintf("%s is %s and not %s", what, quote(y), quote(x)))
		}
	}
	add("after", d.After, there.After)
	add("filter.collections", d.Filter.Collections, there.Filter.Collections)
	add("filter.dids", d.Filter.DIDs, there.Filter.DIDs)
	add("filter.kinds", d.Filter.Kinds, there.Filter.Kinds)
	return strings.Join(parts, "; ")
}

// definitionOf decodes the consumer's definition.
func definitionOf(s *persistence.ConsumerState) (d definition, err error) {
	if err = json.Unmarshal(s.Definition, &d); err != nil {
		err = fmt.Errorf("decode the definition of consumer %s: %w", s.Name, err)
	}
	return d, err
}

// resolve returns the entry after which a start begins now. "0-0" resolves to the last entry that
// retention has dropped, so that entries dropped later are noticed. The error is a
// *persistence.CursorExpiredError when retention has overtaken the start.
func resolve(ctx context.Context, stream persistence.Stream, start string) (persistence.EntryID, error) {
	info, err := stream.Info(ctx)
	if err != nil {
		return persistence.EntryID{}, err
	}
	var trimmed, newest persistence.EntryID
	if info.Trimmed != nil {
		trimmed, newest = *info.Trimmed, *info.Trimmed
	}
	if info.Newest != nil {
		newest = *info.Newest
	}
	if start == fromNow {
		return newest, nil
	}
	id, err := messages.ParseEntryID(start)
	switch {
	case err != nil:
		return id, err
	case id.IsZero():
		return trimmed, nil
	case id.Compare(trimmed) < 0:
		return id, &persistence.CursorExpiredError{Stream: stream.Name(), Cursor: id, Oldest: trimmed}
	}
	return id, nil
}

// consumerRoutes are the routes of named consumers. Their requests may have a body.
func (s *Server) consumerRoutes() map[string]methods {
	const all = "/v1/streams/{stream}/consumers"
	const one = all + "/{consumer}"
	return map[string]methods{
		all:             {"GET": brief(s.listConsumers)},
		one:             {"GET": brief(s.getConsumer), "PUT": brief(s.putConsumer), "DELETE": brief(s.deleteConsumer)},
		one + "/next":   {"GET": s.next},
		one + "/ack":    {"POST": brief(s.ackBatch)},
		one + "/nack":   {"POST": brief(s.nackBatch)},
		one + "/extend": {"POST": brief(s.extendLease)},
		one + "/seek":   {"POST": brief(s.seekConsumer)},
	}
}

// putConsumer creates a consumer, or confirms that the same consumer exists.
func (s *Server) putConsumer(w http.ResponseWriter, r *http.Request) error {
	d, err := parseDefinition(r)
	if err != nil {
		return err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode a definition: %w", err)
	}
	// startErr matters only if the consumer does not exist yet.
	start, startErr := resolve(r.Context(), stream, d.After)
	status := http.StatusOK
	state, err := s.store.UpdateConsumer(r.Context(), stream.Name(), r.PathValue("consumer"),
		func(at time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			if state == nil {
				status = http.StatusCreated
				return &persistence.ConsumerState{CreatedAt: at, MovedAt: at, Acked: start, Definition: text}, startErr
			}
			status = http.StatusOK
			there, err := definitionOf(state)
			if err != nil {
				return nil, err
			}
			if different := d.differs(there); different != "" {
				return nil, &apiError{status: http.StatusConflict, name: nameConsumerExists,
					message: "consumer " + state.Name + " is there already, and is another: " + different + "; a consumer is changed by deleting it, and moved by seek"}
			}
			return state, nil
		})
	if errors.Is(err, persistence.ErrBadBound) {
		return &apiError{status: http.StatusConflict, name: nameTooManyConsumers, message: err.Error()}
	}
	if err != nil {
		return err
	}
	return s.tellConsumer(w, r, status, stream, state)
}

func (s *Server) getConsumer(w http.ResponseWriter, r *http.Request) error {
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	state, err := s.store.Consumer(r.Context(), stream.Name(), r.PathValue("consumer"))
	if err != nil {
		return err
	}
	return s.tellConsumer(w, r, http.StatusOK, stream, &state)
}

// tellConsumer answers with a consumer's status.
func (s *Server) tellConsumer(w http.ResponseWriter, r *http.Request, status int, stream persistence.Stream, state *persistence.ConsumerState) error {
	told, err := s.describe(r.Context(), stream, state)
	if err != nil {
		return err
	}
	writeJSON(w, status, told)
	return nil
}

func (s *Server) listConsumers(w http.ResponseWriter, r *http.Request) error {
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	all, err := s.describeAll(r.Context(), stream)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"consumers": all})
	return nil
}

func (s *Server) deleteConsumer(w http.ResponseWriter, r *http.Request) error {
	_, err := s.changeConsumer(r, func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) { return nil, nil })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// changeConsumer changes an existing consumer and wakes the requests that wait for their turn.
func (s *Server) changeConsumer(r *http.Request, change func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error)) (*persistence.ConsumerState, error) {
	stream, name := r.PathValue("stream"), r.PathValue("consumer")
	state, err := s.store.UpdateConsumer(r.Context(), stream, name, func(at time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		if state == nil {
			return nil, errNoConsumer(stream, name)
		}
		return change(at, state)
	})
	if err == nil {
		s.turns.happened(turnOf(stream, name))
	}
	return state, err
}

func errNoConsumer(stream, name string) error {
	return fmt.Errorf("%w: stream %s has none named %.80q", persistence.ErrNoConsumer, stream, name)
}

// seekConsumer moves the position backward or forward and ends the lease. A consumer that retention
// has overtaken continues this way.
func (s *Server) seekConsumer(w http.ResponseWriter, r *http.Request) error {
	var after *string
	if err := decodeBody(r, field{"after", &after, acceptedStart}); err != nil {
		return err
	}
	start, err := parseStart(after)
	if err != nil {
		return err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	to, err := resolve(r.Context(), stream, start)
	if err != nil {
		return err
	}
	state, err := s.changeConsumer(r, func(at time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		move(state, at, to)
		return state, nil
	})
	if err != nil {
		return err
	}
	return s.tellConsumer(w, r, http.StatusOK, stream, state)
}
