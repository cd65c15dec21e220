package actors

import (
	"encoding/json"

	"github.com/cespare/xxhash/v2"

	"tempestd/messages"
)

// gapEvent is the JSON of a gap entry: the shape of an upstream event, with a kind of our own.
type gapEvent struct {
	Kind   string       `json:"kind"`
	TimeUS int64        `json:"time_us"`
	Gap    messages.Gap `json:"gap"`
}

// gapBatch is a batch of one gap entry. Its ID follows the last event before the gap, so that the events after it keep the IDs their
// own times give them.
func gapBatch(g messages.Gap) *messages.Batch {
	buf, err := json.Marshal(gapEvent{Kind: messages.KindGap.String(), TimeUS: g.ToUS, Gap: g})
	if err != nil {
		panic(err) // strings and integers always encode
	}
	return &messages.Batch{
		Buf: buf,
		Events: []messages.Event{{
			Len:         uint32(len(buf)),
			Kind:        messages.KindGap,
			TimeUS:      g.FromUS,
			Fingerprint: xxhash.Sum64(buf),
		}},
	}
}
