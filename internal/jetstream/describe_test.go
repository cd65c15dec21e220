package jetstream_test

import (
	"testing"

	"tempestd/internal/jetstream"
)

func TestDescribe(t *testing.T) {
	commit := `"kind":"commit","commit":{"rev":"3k","operation":"create","collection":"app.bsky.feed.post","rkey":"3k"}`
	for name, test := range map[string]struct{ event, did, collection string }{
		"commit":             {`{"did":"did:plc:a","time_us":1,` + commit + `}`, "did:plc:a", "app.bsky.feed.post"},
		"identity":           {`{"did":"did:plc:b","time_us":1,"kind":"identity","identity":{"seq":1}}`, "did:plc:b", ""},
		"escapes":            {`{"did":"did\u003aplc:c","time_us":1,` + commit + `}`, "did:plc:c", "app.bsky.feed.post"},
		"an entry of ours":   {`{"kind":"gap","time_us":1,"gap":{}}`, "", ""},
		"no commit of its":   {`{"did":"did:plc:d","time_us":1,"kind":"account","commit":{"collection":"x"}}`, "did:plc:d", ""},
		"what is not stored": {`{"did":`, "", ""},
	} {
		did, collection := jetstream.Describe([]byte(test.event))
		if string(did) != test.did || string(collection) != test.collection {
			t.Errorf("%s: got %q, %q", name, did, collection)
		}
	}
}
