package subscribe

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Version is a version of the protocol.
type Version uint8

// The versions.
const (
	V1 Version = 1 // /subscribe
	V2 Version = 2 // /xrpc/network.bsky.jetstream.subscribeEvents
)

// String is "v1" or "v2".
func (v Version) String() string {
	if v == V2 {
		return "v2"
	}
	return "v1"
}

// Where servers listen, and the subprotocol that v2 has.
const (
	PathV1         = "/subscribe"
	PathV2         = "/xrpc/network.bsky.jetstream.subscribeEvents"
	PathDictionary = "/xrpc/network.bsky.jetstream.getZstdDictionary"
	SubprotocolV2  = "xrpc.v1.json"
)

// V2Type is the $type of a v2 payload without the name of its kind.
const V2Type = "network.bsky.jetstream.subscribeEvents#"

// Reasons of the close frames that end a subscription, and their codes.
const (
	ShutdownReason   = "server shutting down"    // 1001
	UnexpectedReason = "unexpected data message" // 1008, v2
)

// MaxClientMessage is how many bytes a server accepts of a subscriber's message.
const MaxClientMessage = 10_000_000

// CloseReason is a reason as it fits into a close frame: it is cut, between characters, where a control frame has no room for it.
func CloseReason(reason string) string {
	const room = 123
	if len(reason) <= room {
		return reason
	}
	return strings.ToValidUTF8(reason[:room-len("...")], "") + "..."
}

// ErrorFrame is the v2 message that says why the connection is about to end.
func ErrorFrame(name, message string) []byte { return errorJSON("error", name, message) }

// TooSlow is the error frame of a subscriber that does not keep up; cursor is where it goes on.
func TooSlow(behind, cursor int64) []byte {
	return ErrorFrame("ConsumerTooSlow", fmt.Sprintf("reading below the floor rate %d events behind the tip; reconnect with cursor=%d", behind, cursor))
}

// InfoFrame is a v2 message that is no event.
func InfoFrame(name, message string) []byte {
	type payload struct {
		Type    string `json:"$type"`
		Message string `json:"message"`
		Name    string `json:"name"`
	}
	b, _ := json.Marshal(struct { // strings always marshal
		Type    string  `json:"$type"`
		Payload payload `json:"payload"`
	}{"message", payload{V2Type + "info", message, name}})
	return b
}

// Future is the info frame before the live tip when the cursor is a sequence number that lies beyond the next one. v1 is silent.
func Future(cursor, next int64) []byte {
	return InfoFrame("FutureCursor", fmt.Sprintf("requested cursor %d is beyond the next seq %d; starting at the live tip", cursor, next))
}

// Outdated is the info frame before the first event, which has the seq first, when the cursor is a time of which events are no longer served.
func Outdated(first int64) []byte {
	return InfoFrame("OutdatedCursor", fmt.Sprintf("requested timestamp cursor below retention floor; starting at seq %d", first))
}
