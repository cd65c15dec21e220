package integration_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"tempestd/messages"
)

// The description of a gap has every field of a row, and no other.
func TestOpenAPIDescribesAGap(t *testing.T) {
	api := readDescription(t)
	row := messages.NewGapStatus(messages.GapRow{})
	fill(reflect.ValueOf(&row).Elem())
	price := messages.GapPrice{Gap: row, Offers: []messages.GapOffer{{Source: messages.SourceSocket, Why: "-"}}}
	for name, v := range map[string]any{"Gap": row, "GapPrice": price, "GapAccepted": map[string]any{"gap": row, "accepted": "dismiss"}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, fault := range api.faults("#", &schema{Ref: "#/components/schemas/" + name}, got) {
			t.Errorf("%s: %s", name, fault)
		}
		fields, _ := got.(map[string]any)
		for field := range api.Components.Schemas[name].Properties {
			if _, ok := fields[field]; !ok {
				t.Errorf("%s has no %s, which is described", name, field)
			}
		}
	}
}

// fill sets every field of a row, so that its JSON has all of them.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case messages.GapState:
			f.SetString(string(messages.GapWaiting))
		case messages.GapCause:
			f.SetString(string(messages.GapSkipped))
		case messages.GapSource:
			f.SetString(string(messages.SourceArchive))
		case []messages.GapSource:
			f.Set(reflect.ValueOf(messages.GapSources))
		case json.RawMessage:
			f.SetBytes([]byte(`{"block":1}`))
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
		case *time.Time:
			at := time.Unix(1, 0).UTC()
			f.Set(reflect.ValueOf(&at))
		case *messages.MissingEvent:
			f.Set(reflect.ValueOf(&messages.MissingEvent{DID: "did:plc:a"}))
		case messages.EntryID:
			f.Set(reflect.ValueOf(messages.EntryID{MS: 1}))
		case string:
			f.SetString("x")
		case bool:
			f.SetBool(true)
		case int, int64:
			f.SetInt(1)
		case uint64:
			f.SetUint(1)
		default:
			fill(f)
		}
	}
}
