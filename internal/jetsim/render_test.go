package jetsim_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetsim"
)

// sample returns the frames of a legacy server's backlog. They have no cursor member, like the
// sample of the production network.
func sample(t *testing.T, n int, opt jetsim.Options) [][]byte {
	t.Helper()
	opt.Backlog = int64(n)
	return subscribe(t, start(t, opt), "cursor=0").read(n)
}

func TestFramesHaveTheNetworksSizes(t *testing.T) {
	frames := sample(t, 6_000, jetsim.Options{Legacy: true})
	sizes := make([]int, len(frames))
	sum, nonASCII, escaped := 0, 0, 0
	for i, b := range frames {
		sizes[i] = len(b)
		sum += len(b)
		if slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf }) {
			nonASCII++
		}
		if bytes.IndexByte(b, '\\') >= 0 {
			escaped++
		}
	}
	slices.Sort(sizes)
	quantile := func(q float64) int { return sizes[int(q*float64(len(sizes)))] }
	// In the production network: p10 502, median 502, mean 550, p90 667, p99 1157, max 1246 bytes;
	// 5 % non-ASCII, 5 % with escapes.
	for _, fact := range []struct {
		name           string
		got, low, high int
	}{
		{"p10", quantile(.10), 390, 505},
		{"median", quantile(.50), 500, 505},
		{"mean", sum / len(sizes), 520, 565},
		{"p90", quantile(.90), 640, 690},
		{"p99", quantile(.99), 1050, 1250},
		{"max", sizes[len(sizes)-1], 1200, 2000},
		{"non-ASCII per mille", nonASCII * 1000 / len(sizes), 20, 150},
		{"escaped per mille", escaped * 1000 / len(sizes), 20, 150},
	} {
		if fact.got < fact.low || fact.got > fact.high {
			t.Errorf("%s is %d, want %d to %d", fact.name, fact.got, fact.low, fact.high)
		}
	}
}

func TestFramesAreWhatTheNetworksEncodersWrite(t *testing.T) {
	for i, b := range sample(t, 5000, jetsim.Options{}) {
		var compact, escaped bytes.Buffer
		if err := json.Compact(&compact, b); err != nil {
			t.Fatalf("frame %d: %v: %s", i, err, b)
		}
		json.HTMLEscape(&escaped, b)
		if !bytes.Equal(compact.Bytes(), b) || !bytes.Equal(escaped.Bytes(), b) || !utf8.Valid(b) {
			t.Fatalf("frame %d is not in the encoders' form: %s", i, b)
		}
	}
}

func TestIdentitiesNeverRepeat(t *testing.T) {
	seen := map[string]int{}
	for i, f := range decode(t, sample(t, 4_000, jetsim.Options{Accounts: 300})) {
		if first, ok := seen[f.identity()]; ok {
			t.Fatalf("events %d and %d are both %s", first, i, f.identity())
		}
		seen[f.identity()] = i
	}
}

func TestCommitsShareTheirTimeAndRev(t *testing.T) {
	fs := decode(t, sample(t, 5_000, jetsim.Options{}))
	var shared, run, longest int
	lastRev := map[string]string{}
	for i, f := range fs {
		if f.seq() == 0 {
			t.Fatal("a frame without a cursor")
		}
		if f.Kind == "commit" && f.Commit.Rev < lastRev[f.DID] {
			t.Fatalf("event %d: rev %s of %s follows %s", i, f.Commit.Rev, f.DID, lastRev[f.DID])
		}
		lastRev[f.DID] = f.Commit.Rev
		if f.Kind != "commit" {
			lastRev[f.DID] = ""
		}
		if i == 0 {
			continue
		}
		p := fs[i-1]
		if f.seq() <= p.seq() || f.TimeUS < p.TimeUS {
			t.Fatalf("event %d goes back", i)
		}
		if same := f.Kind == "commit" && f.DID == p.DID && f.Commit.Rev == p.Commit.Rev; same != (f.TimeUS == p.TimeUS) {
			t.Fatalf("event %d: the same commit is %t, times are %d and %d", i, same, p.TimeUS, f.TimeUS)
		} else if same {
			shared++
			run++
			longest = max(longest, run+1)
		} else {
			run = 0
		}
	}
	if part := shared * 1000 / len(fs); part < 150 || part > 190 || longest != 9 {
		t.Errorf("%d per mille share their time, the longest run is %d; observed were 168 and 9", part, longest)
	}
	if gaps := fs[len(fs)-1].seq() - int64(len(fs)); gaps == 0 {
		t.Error("seqs have no gaps")
	}
}

func TestTheSeedIsTheNetwork(t *testing.T) {
	ids := func(seed uint64) (out []string) {
		for _, f := range decode(t, sample(t, 300, jetsim.Options{Seed: seed, Clock: clockwork.NewFakeClockAt(noon)})) {
			out = append(out, f.identity())
		}
		return out
	}
	a := ids(1)
	if !slices.Equal(a, ids(1)) {
		t.Error("one seed gives two networks")
	}
	if b := ids(2); slices.ContainsFunc(a, func(id string) bool { return slices.Contains(b, id) }) {
		t.Error("two seeds share events")
	}
}

// layout returns the order of the keys of an event and its record, without values and cursor.
func layout(t *testing.T, b []byte) string {
	t.Helper()
	var out []string
	dec := json.NewDecoder(bytes.NewReader(b))
	depth, key := 0, false
	for {
		tok, err := dec.Token()
		if err != nil {
			return strings.Join(out, " ")
		}
		switch tok := tok.(type) {
		case json.Delim:
			if tok == '{' {
				depth++
				key = true
			} else if tok == '}' {
				depth--
				key = true
			} else {
				t.Fatalf("layout does not read arrays: %s", b)
			}
		case string:
			if key && tok != "cursor" {
				out = append(out, strings.Repeat(".", depth)+tok)
			}
			key = !key
		default:
			key = true
		}
	}
}

// TestFramesHaveTheNetworksLayout compares the order of keys with real frames of the same kind. The
// corpus adds more real frames.
func TestFramesHaveTheNetworksLayout(t *testing.T) {
	real := []string{
		`{"did":"d","time_us":1,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"app.bsky.feed.like","rkey":"k","record":{"$type":"app.bsky.feed.like","createdAt":"t","subject":{"cid":"c","uri":"u"}},"cid":"c"}}`,
		`{"did":"d","time_us":1,"kind":"commit","commit":{"rev":"r","operation":"delete","collection":"app.bsky.graph.follow","rkey":"k"}}`,
		`{"did":"d","time_us":1,"kind":"identity","identity":{"did":"d","seq":1,"time":"t"}}`,
		`{"did":"d","time_us":1,"kind":"account","account":{"active":true,"did":"d","seq":1,"time":"t"}}`,
	}
	if dir := os.Getenv("TEMPEST_CORPUS"); dir != "" {
		for _, name := range []string{"real_v1.jsonl", "real_v1_shapes.jsonl"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			real = append(real, strings.Split(strings.TrimSpace(string(b)), "\n")...)
		}
	}
	have := map[string]bool{}
	for _, b := range sample(t, 5000, jetsim.Options{}) {
		if !bytes.ContainsRune(b, '[') {
			have[layout(t, b)] = true
		}
	}
	for _, line := range real {
		simulated := []string{`"kind":"identity"`, `"kind":"account"`, `"collection":"app.bsky.feed.like"`, `"collection":"app.bsky.feed.repost"`,
			`"collection":"app.bsky.graph.follow"`, `"collection":"app.bsky.graph.block"`, `"collection":"place.stream.broadcast.origin"`}
		if slices.ContainsFunc(simulated, func(s string) bool { return strings.Contains(line, s) }) && !have[layout(t, []byte(line))] {
			t.Errorf("no frame has the layout of %s", line)
		}
	}
}
