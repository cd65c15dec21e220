package subscribe

import (
	"encoding/json"
	"fmt"
	"strings"

	"tempestd/internal/atproto"
)

// Version is a version of the protocol.
type Version uint8

// Versions.
const (
	V1 Version = 1 // /subscribe
	V2 Version = 2 // /xrpc/network.bsky.jetstream.subscribeEvents
)

// String returns "v1" or "v2".
func (v Version) String() string {
	if v == V2 {
		return "v2"
	}
	return "v1"
}

// Reasons of the close frames that end a subscription, with their codes.
const (
	ShutdownReason   = "server shutting down"    // 1001
	UnexpectedReason = "unexpected data message" // 1008, v2
)

// CloseReason returns a reason that fits into a close frame. A longer one is cut between characters
// and ends in "...", because a control frame has room for 123 bytes of it.
func CloseReason(reason string) string {
	const room = 123
	if len(reason) <= room {
		return reason
	}
	return strings.ToValidUTF8(reason[:room-len("...")], "") + "..."
}

// ErrorFrame returns the v2 message that says why the connection is about to end.
func ErrorFrame(name, message string) []byte { return errorJSON("error", name, message) }

// TooSlow returns the error frame for a subscriber that does not keep up. behind is in events;
// cursor is where the subscriber can resume.
func TooSlow(behind, cursor int64) []byte {
	return ErrorFrame(atproto.ConsumerTooSlow, fmt.Sprintf("reading below the floor rate %d events behind the tip; reconnect with cursor=%d", behind, cursor))
}

// InfoFrame returns a v2 message that is not an event.
func InfoFrame(name, message string) []byte {
	type payload struct {
		Type    string `json:"$type"`
		Message string `json:"message"`
		Name    string `json:"name"`
	}
	b, _ := json.Marshal(struct { // strings always encode
		Type    string  `json:"$type"`
		Payload payload `json:"payload"`
	}{"message", payload{atproto.EventType + "info", message, name}})
	return b
}

// Future returns the info frame that v2 sends before the live tip if the cursor is a sequence
// number beyond the next one. v1 is silent.
func Future(cursor, next int64) []byte {
	return InfoFrame(atproto.FutureCursor, fmt.Sprintf("requested cursor %d is beyond the next seq %d; starting at the live tip", cursor, next))
}

// Outdated returns the info frame that v2 sends before the first event, whose sequence number is
// first, if the cursor is a time whose events are partly no longer served.
func Outdated(first int64) []byte {
	return InfoFrame(atproto.OutdatedCursor, fmt.Sprintf("requested timestamp cursor below retention floor; starting at seq %d", first))
}
