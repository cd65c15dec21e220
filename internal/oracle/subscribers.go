package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"tempestd/internal/atproto"
)

// The readers that speak Jetstream to the daemon. They resume by number: a cursor is inclusive, so
// they get the last event again, and leave it out.

// shape is what the judge knows of an event.
type shape struct {
	Kind   string
	Commit struct{ Collection string }
}

func shapeOf(event []byte) (s shape) {
	_ = json.Unmarshal(event, &s) // what is no event has no kind
	return s
}

func isOfFeeds(event []byte) bool {
	s := shapeOf(event)
	return s.Kind == "commit" && strings.HasPrefix(s.Commit.Collection, "app.bsky.feed.")
}

func isOfV1(event []byte) bool {
	kind := shapeOf(event).Kind
	return kind == "commit" || kind == "identity" || kind == "account"
}

func isOfV2(event []byte) bool { return shapeOf(event).Kind != "gap" }

// members are the members of a JSON object under sorted names.
func members(event []byte, change func(map[string]json.RawMessage)) []byte {
	var all map[string]json.RawMessage
	if json.Unmarshal(event, &all) != nil {
		return event
	}
	change(all)
	b, err := json.Marshal(all)
	if err != nil {
		return event
	}
	return b
}

// asV1 is an event as v1's subscribers see it: with the number in the stream.
func asV1(event []byte, number int64) []byte {
	return members(event, func(all map[string]json.RawMessage) {
		delete(all, "witnessedAt")
		all["cursor"] = json.RawMessage(strconv.FormatInt(number, 10))
	})
}

// asV2 is the payload of an event as v2's subscribers see it, but for its time.
func asV2(event []byte, number int64) []byte {
	return members(event, func(all map[string]json.RawMessage) {
		var kind string
		_ = json.Unmarshal(all["kind"], &kind) // of an event
		all["$type"] = json.RawMessage(strconv.Quote(atproto.EventType + kind))
		all["seq"] = json.RawMessage(strconv.FormatInt(number, 10))
		var commit map[string]json.RawMessage
		if kind == "commit" && json.Unmarshal(all["commit"], &commit) == nil {
			for name, value := range commit {
				all[name] = value
			}
			delete(all, "commit")
		}
		for _, name := range []string{"kind", "time_us", "cursor", "repair"} {
			delete(all, name)
		}
	})
}

// subscribe reads the frames of a subscription until it ends.
func (r *reader) subscribe(ctx context.Context, at *place, path string, take func(frame []byte) error) error {
	url := fmt.Sprintf("ws%s%scursor=%d", strings.TrimPrefix(at.base, "http"), path, max(r.number, r.floor, 1))
	c, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: r.client})
	if err != nil {
		if resp == nil || resp.StatusCode != http.StatusBadRequest {
			return err
		}
		return r.tooOld(resp)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for at.world.gate.pass(ctx) {
		_, frame, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if err := take(frame); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// tooOld heeds v2's refusal of a number that retention has overtaken. The reader goes on at the
// number that it names.
func (r *reader) tooOld(resp *http.Response) error {
	var said struct{ Error, Message string }
	var cursor, floor int64
	err := json.NewDecoder(resp.Body).Decode(&said)
	if err == nil && said.Error == atproto.CursorTooOld {
		_, err = fmt.Sscanf(said.Message, "subscribe: cursor too old: cursor %d below lookback floor %d;", &cursor, &floor)
	}
	if err != nil || floor <= r.number {
		r.fail("it stands at %d, and is refused: %s: %s", r.number, said.Error, said.Message)
		return err
	}
	r.told = append(r.told, notice{seen: len(r.seen)})
	r.floor = floor
	return nil
}

// take keeps an event with its number. The first one of a connection may be the last one of the
// connection before.
func (r *reader) take(number int64, event []byte, first bool) {
	if first && number == r.number {
		return
	}
	if number <= r.number {
		r.fail("number %d comes after %d", number, r.number)
	}
	r.number = number
	r.seen = append(r.seen, sight{number: number, event: event})
}

// subscribeV1 follows by v1's websocket.
func subscribeV1(ctx context.Context, r *reader, at *place) error {
	first := true
	return r.subscribe(ctx, at, "/v1/streams/"+feedName+"/subscribe?", func(frame []byte) error {
		var said struct{ Cursor int64 }
		if err := json.Unmarshal(frame, &said); err != nil {
			r.fail("there is a frame %q", frame)
			return err
		}
		r.take(said.Cursor, members(frame, func(map[string]json.RawMessage) {}), first)
		first = false
		return nil
	})
}

// subscribeV2 follows by v2's websocket.
func subscribeV2(ctx context.Context, r *reader, at *place) error {
	first := true
	return r.subscribe(ctx, at, atproto.EventsPath+"?", func(frame []byte) error {
		var said struct {
			Payload json.RawMessage
		}
		var payload struct {
			Type    string `json:"$type"`
			Name    string
			Message string
			Seq     int64
		}
		err := json.Unmarshal(frame, &said)
		if err == nil {
			err = json.Unmarshal(said.Payload, &payload)
		}
		switch {
		case err != nil || !strings.HasPrefix(payload.Type, atproto.EventType):
			r.fail("there is a frame %q", frame)
			return err
		case payload.Name == atproto.OutdatedCursor, payload.Name == "Gap" && strings.Contains(payload.Message, "dropped by retention"):
			r.told = append(r.told, notice{seen: len(r.seen)})
		case payload.Name == "Gap": // a gap entry
		case payload.Type == atproto.EventType+"info":
			r.fail("it is told %q", frame)
		default:
			r.take(payload.Seq, members(said.Payload, func(all map[string]json.RawMessage) { delete(all, "time") }), first)
			first = false
		}
		return nil
	})
}
