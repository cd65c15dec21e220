package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/crashpoint"
	"tempestd/internal/observe"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/guard"
	"tempestd/internal/serve/tail"
	"tempestd/persistence"
)

// Options configure Consumers. All fields are required.
type Options struct {
	Store    persistence.Store
	Tails    *tail.Tails
	Guard    *guard.Guard
	Clock    clockwork.Clock
	Observer *observe.Observer
}

// Consumers serve named consumers. They are safe for concurrent use.
type Consumers struct {
	store    persistence.Store
	tails    *tail.Tails
	guard    *guard.Guard
	clock    clockwork.Clock
	observer *observe.Observer
	queues   queues
	series   series
}

// New returns the consumers of a server.
func New(o Options) *Consumers {
	return &Consumers{store: o.Store, tails: o.Tails, guard: o.Guard, clock: o.Clock, observer: o.Observer}
}

// Routes returns the routes of named consumers. Their requests may have a body.
func (c *Consumers) Routes() []api.Route {
	const all = "/v1/streams/{stream}/consumers"
	const one = all + "/{consumer}"
	return []api.Route{
		{Pattern: all, Body: true, Methods: api.Methods{"GET": api.Brief(c.list)}},
		{Pattern: one, Body: true, Methods: api.Methods{"GET": api.Brief(c.get), "PUT": api.Brief(c.put), "DELETE": api.Brief(c.remove)}},
		{Pattern: one + "/next", Full: true, Body: true, Methods: api.Methods{"GET": c.next}},
		{Pattern: one + "/ack", Body: true, Methods: api.Methods{"POST": api.Brief(c.ack)}},
		{Pattern: one + "/nack", Body: true, Methods: api.Methods{"POST": api.Brief(c.nack)}},
		{Pattern: one + "/extend", Body: true, Methods: api.Methods{"POST": api.Brief(c.extend)}},
		{Pattern: one + "/seek", Body: true, Methods: api.Methods{"POST": api.Brief(c.seek)}},
	}
}

// put creates a consumer, or confirms that the same consumer exists.
func (c *Consumers) put(w http.ResponseWriter, r *http.Request) error {
	d, err := parseDefinition(r)
	if err != nil {
		return err
	}
	stream, err := c.store.Stream(r.Context(), r.PathValue("stream"))
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
	state, err := c.store.UpdateConsumer(r.Context(), stream.Name(), r.PathValue("consumer"),
		func(at time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			if state == nil {
				status = http.StatusCreated
				return &persistence.ConsumerState{CreatedAt: at, MovedAt: at, Acked: start, Definition: text}, startErr
			}
			status = http.StatusOK
			there, err := definitionOf(State(*state))
			if err != nil {
				return nil, err
			}
			if different := d.differs(there); different != "" {
				return nil, &api.Error{Status: http.StatusConflict, Name: api.NameConsumerExists,
					Message: "consumer " + state.Name + " is there already, and is another: " + different + "; a consumer is changed by deleting it, and moved by seek"}
			}
			return state, nil
		})
	if errors.Is(err, persistence.ErrBadBound) {
		return &api.Error{Status: http.StatusConflict, Name: api.NameTooManyConsumers, Message: err.Error()}
	}
	if err != nil {
		return err
	}
	return c.answer(w, r, status, stream, State(*state))
}

func (c *Consumers) get(w http.ResponseWriter, r *http.Request) error {
	stream, err := c.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	state, err := c.store.Consumer(r.Context(), stream.Name(), r.PathValue("consumer"))
	if err != nil {
		return err
	}
	return c.answer(w, r, http.StatusOK, stream, State(state))
}

// answer answers with a consumer's status.
func (c *Consumers) answer(w http.ResponseWriter, r *http.Request, status int, stream persistence.Stream, state State) error {
	told, err := c.describe(r.Context(), stream, state)
	if err != nil {
		return err
	}
	api.WriteJSON(w, status, told)
	return nil
}

func (c *Consumers) list(w http.ResponseWriter, r *http.Request) error {
	stream, err := c.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	all, err := c.describeAll(r.Context(), stream)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{"consumers": all})
	return nil
}

func (c *Consumers) remove(w http.ResponseWriter, r *http.Request) error {
	stream, name := r.PathValue("stream"), r.PathValue("consumer")
	_, err := c.store.UpdateConsumer(r.Context(), stream, name, func(_ time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		if state == nil {
			return nil, persistence.NoConsumerError(stream, name)
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	c.queues.wake(key{stream, name})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// change changes an existing consumer and wakes the requests that wait for it.
func (c *Consumers) change(r *http.Request, change func(State, time.Time) (State, error)) (State, error) {
	stream, name := r.PathValue("stream"), r.PathValue("consumer")
	state, err := c.store.UpdateConsumer(r.Context(), stream, name, func(now time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		if state == nil {
			return nil, persistence.NoConsumerError(stream, name)
		}
		next, err := change(State(*state), now)
		return (*persistence.ConsumerState)(&next), err
	})
	if err != nil {
		return State{}, err
	}
	crashpoint.Pass(crashpoint.ConsumerSaved)
	c.queues.wake(key{stream, name})
	return State(*state), nil
}

// seek moves the position backward or forward and ends the lease. A consumer that retention has
// overtaken continues this way.
func (c *Consumers) seek(w http.ResponseWriter, r *http.Request) error {
	var after *string
	if err := api.DecodeBody(r, api.Field{Name: "after", Into: &after, Accepted: acceptedStart}); err != nil {
		return err
	}
	start, err := parseStart(after)
	if err != nil {
		return err
	}
	stream, err := c.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	to, err := resolve(r.Context(), stream, start)
	if err != nil {
		return err
	}
	state, err := c.change(r, func(s State, now time.Time) (State, error) { return s.Seek(now, to), nil })
	if err != nil {
		return err
	}
	return c.answer(w, r, http.StatusOK, stream, state)
}
