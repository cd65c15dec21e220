package subscribe

import (
	"encoding/json"
	"errors"

	"tempestd/internal/atproto"
)

// Errors of ParseUpdate that end a connection with close code 1007. Every other error of it ends
// one with 1008.
var (
	ErrBadEnvelope = errors.New("bad SubscriberSourcedMessage envelope")
	ErrBadPayload  = errors.New("bad options_update payload")
)

// ParseUpdate reads a text message of a v1 subscriber: the filter that replaces its current one.
// update is false for a message of a type that servers ignore.
func ParseUpdate(text []byte) (f Filter, update bool, err error) {
	var message struct {
		Type    string          `json:"type"`
		Payload json.RawMessage `json:"payload"`
	}
	if json.Unmarshal(text, &message) != nil {
		return Filter{}, false, ErrBadEnvelope
	}
	if message.Type != atproto.OptionsUpdate {
		return Filter{}, false, nil
	}
	var options struct {
		WantedCollections   []string `json:"wantedCollections"`
		WantedDIDs          []string `json:"wantedDids"`
		MaxMessageSizeBytes int      `json:"maxMessageSizeBytes"`
	}
	if json.Unmarshal(message.Payload, &options) != nil {
		return Filter{}, false, ErrBadPayload
	}
	f, err = FilterV1(options.WantedCollections, options.WantedDIDs)
	f.MaxBytes = max(0, options.MaxMessageSizeBytes)
	return f, err == nil, err
}
