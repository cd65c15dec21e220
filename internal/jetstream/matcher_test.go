package jetstream_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tempestd/internal/jetstream"
)

const gapEntry = `{"kind":"gap","time_us":1795370836563030,"gap":{"host":"jetstream2.us-east.bsky.network:443","from_us":1,"to_us":2,"cause":"replay_window"}}`

// A reader's filter keeps the events that a server's filter would keep, in whichever shape the
// entry is stored.
func TestReadersFilterAsServersDo(t *testing.T) {
	frames := stories()
	rapid.Check(t, func(r *rapid.T) {
		subset := func(name string, all ...string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, len(all), rapid.ID).Draw(r, name)
		}
		f := jetstream.Filter{
			Kinds:       subset("kinds", "commit", "identity", "account", "sync"),
			Collections: subset("collections", "app.bsky.feed.post", "app.bsky.feed.*", "app.bsky.*", "fm.teal.alpha.play", "app.bsky.graph.*"),
			DIDs:        subset("dids", "did:plc:a", "did:web:c"),
		}
		m := jetstream.NewMatcher(f)
		var got []string
		for _, frame := range frames {
			if m.WantsEvent([]byte(frame)) {
				got = append(got, frame)
			}
		}
		if want := wanted(frames, f); !slices.Equal(got, want) {
			r.Fatalf("%+v keeps %d of %d, want %d", f, len(got), len(frames), len(want))
		}
	})
	post := jetstream.NewMatcher(jetstream.Filter{Collections: []string{"app.bsky.feed.post"}})
	for _, frame := range realistic(200) {
		if v1, v2 := post.WantsEvent(frame), post.WantsEvent(asV2(frame)); v1 != v2 || v1 != strings.Contains(string(frame), `"collection":"app.bsky.feed.post"`) {
			t.Errorf("kept as v1: %v, as v2: %v; %s", v1, v2, frame)
		}
	}
	escaped := `{"d\u0069d":"did:plc:\u0061","time_us":1,"kind":"comm\u0069t","commit":{"rev":"r","operation":"create","collection":"a.b.\u0063","rkey":"k"}}`
	if !jetstream.NewMatcher(jetstream.Filter{Collections: []string{"a.b.c"}, DIDs: []string{"did:plc:a"}, Kinds: []string{"commit"}}).WantsEvent([]byte(escaped)) {
		t.Error("an event with escapes is not kept")
	}
}

func TestI4_OnlyAListOfKindsLeavesGapsOut(t *testing.T) {
	for _, c := range []struct {
		filter jetstream.Filter
		want   bool
	}{
		{jetstream.Filter{}, true},
		{jetstream.Filter{Collections: []string{"a.b.c"}, DIDs: []string{"did:plc:a"}}, true},
		{jetstream.Filter{Kinds: []string{"commit", "gap"}, DIDs: []string{"did:plc:a"}}, true},
		{jetstream.Filter{Kinds: []string{"commit", "identity", "account", "sync"}}, false},
		{jetstream.Filter{Kinds: []string{"bogus"}}, false},
	} {
		if got := jetstream.NewMatcher(c.filter).WantsEvent([]byte(gapEntry)); got != c.want {
			t.Errorf("%+v keeps a gap: %v, want %v", c.filter, got, c.want)
		}
	}
}

func TestWhatIsNoEventHasNoAccountAndNoKind(t *testing.T) {
	for _, event := range []string{`{"n":1}`, `{"did":"did:plc:a","kind":"commit"}`, `[]`, ``, `{"kind":"gap"`} {
		for _, f := range []jetstream.Filter{{DIDs: []string{"did:plc:a"}}, {Kinds: []string{"commit", "gap"}}} {
			if jetstream.NewMatcher(f).WantsEvent([]byte(event)) {
				t.Errorf("%+v keeps %s", f, event)
			}
		}
		if !jetstream.NewMatcher(jetstream.Filter{}).WantsEvent([]byte(event)) {
			t.Errorf("without a filter %s is left out", event)
		}
	}
}

func TestValidateReader(t *testing.T) {
	many := func(n int, format string) []string { return padded(nil, n, format) }
	for _, c := range []struct {
		filter jetstream.Filter
		want   []string
	}{
		{jetstream.Filter{Collections: many(100, "a.b.c%d"), DIDs: many(10_000, "did:plc:x%d"), Kinds: []string{"gap", "commit"}}, nil},
		{jetstream.Filter{Collections: many(101, "a.b.c%d")}, []string{"101 collections are too many: accepted are up to 100"}},
		{jetstream.Filter{DIDs: many(10_001, "did:plc:x%d")}, []string{"10001 dids are too many: accepted are up to 10000"}},
		{jetstream.Filter{Collections: []string{"app.*"}}, []string{"invalid collection wildcard: app.*"}},
		{jetstream.Filter{Kinds: []string{"like"}}, []string{`unknown kind "like" (valid: commit, identity, account, sync, gap)`}},
		{jetstream.Filter{Kinds: []string{"gap"}, Collections: []string{"a.b.c"}}, []string{"collections filter can never apply: kinds excludes commit"}},
	} {
		var got []string
		for _, err := range jetstream.ValidateReader(c.filter) {
			got = append(got, err.Error())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v gives %q, want %q", c.filter, got, c.want)
		}
	}
}

func BenchmarkWantsEvent(b *testing.B) {
	frames := realistic(4096)
	m := jetstream.NewMatcher(jetstream.Filter{Collections: []string{"app.bsky.graph.*", "app.bsky.feed.post"}, DIDs: padded(nil, 1000, "did:plc:x%d")})
	for name, frames := range map[string][][]byte{"v1": frames, "v2": allAsV2(frames)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(total(frames) / len(frames)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m.WantsEvent(frames[i%len(frames)])
				i++
			}
		})
	}
}
