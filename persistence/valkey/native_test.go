package valkey_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// native is one entry as the engine's own command line client prints it with --json: [ID, [name,
// value, …]].
type native struct {
	id     string
	fields map[string]string
	names  []string
}

func (n *native) UnmarshalJSON(text []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(text, &pair); err != nil || len(pair) != 2 {
		return fmt.Errorf("%.80s is no entry: %v", text, err)
	}
	if err := json.Unmarshal(pair[0], &n.id); err != nil {
		return err
	}
	var flat []string
	n.fields = make(map[string]string)
	if err := json.Unmarshal(pair[1], &flat); err != nil {
		return err
	}
	for i := 0; i+1 < len(flat); i += 2 {
		n.names = append(n.names, flat[i])
		n.fields[flat[i]] = flat[i+1]
	}
	return nil
}

// ask runs a command in the engine's own client and returns its answer.
func ask[T any](t *testing.T, server *valkeytest.Server, args ...string) (answer T) {
	t.Helper()
	text := server.CLI(append([]string{"-3", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Errorf("%s: %v: %.200s", strings.Join(args, " "), err, text)
	}
	return answer
}

// The documented use by native consumers works with the engines' own clients: XRANGE, XREAD with
// and without waiting, a group with XREADGROUP, XACK, XPENDING and XAUTOCLAIM, and the marker of a
// closed stream.
func TestNativeConsumers(t *testing.T) {
	t.Parallel()
	for _, engine := range []valkeytest.Engine{valkeytest.Valkey, valkeytest.Redis} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			server := valkeytest.Start(t, valkeytest.Options{Engine: engine})
			v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, Fields: valkey.EntryFields,
				Describe: func(event []byte) (did, collection []byte) {
					var e struct {
						DID    string
						Commit struct{ Collection string }
					}
					if err := json.Unmarshal(event, &e); err != nil {
						t.Error(err)
					}
					return []byte(e.DID), []byte(e.Commit.Collection)
				}})
			nativeConsumers(t, server, v)
		})
	}
}

func nativeConsumers(t *testing.T, server *valkeytest.Server, v *valkey.Store) {
	const key, closed = "tempestd:{feed}", "tempestd:{feed}:closed"
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	appendOne := func(n int) []persistence.Entry {
		t.Helper()
		batch := send.batch(n)
		done, err := stream.Append(t.Context(), batch, messages.Checkpoint{})
		if err != nil {
			t.Fatal(err)
		}
		page, err := stream.Read(t.Context(), persistence.CursorAt(done.First), persistence.CursorAt(done.Last), n)
		if err != nil || len(page.Entries) != n {
			t.Fatalf("%d entries, %v", len(page.Entries), err)
		}
		return page.Entries
	}
	want := appendOne(5)
	same := func(what string, got []native, want []persistence.Entry) {
		t.Helper()
		if len(got) != len(want) {
			t.Errorf("%s: %d entries, want %d", what, len(got), len(want))
			return
		}
		for i, n := range got {
			var e struct {
				DID    string
				Kind   string
				TimeUS json.Number `json:"time_us"`
				Commit struct{ Collection string }
			}
			if err := json.Unmarshal(want[i].Event, &e); err != nil {
				t.Fatal(err)
			}
			fields := map[string]string{"json": string(want[i].Event), "did": e.DID, "kind": e.Kind, "collection": e.Commit.Collection, "time_us": e.TimeUS.String()}
			if names := append([]string{"json"}, valkey.EntryFields...); n.id != want[i].ID.String() || !slices.Equal(n.names, names) {
				t.Errorf("%s: entry %s has the fields %v, want %s and %v", what, n.id, n.names, want[i].ID, names)
			}
			for name, value := range fields {
				if n.fields[name] != value {
					t.Errorf("%s: entry %s: %s is %.80q, want %.80q", what, n.id, name, n.fields[name], value)
				}
			}
			// The ID is the event's own time: the millisecond, and the rest in thousandths of a
			// microsecond.
			if us, _ := e.TimeUS.Int64(); uint64(us/1000) != want[i].ID.MS {
				t.Errorf("%s: entry %s is of the time %d", what, n.id, us)
			}
		}
	}
	type byKey = map[string][]native

	same("XRANGE", ask[[]native](t, server, "XRANGE", key, "-", "+"), want)
	same("XRANGE of a time", ask[[]native](t, server, "XRANGE", key, fmt.Sprint(want[0].ID.MS), "+", "COUNT", "1"), want[:1])
	same("XREVRANGE", ask[[]native](t, server, "XREVRANGE", key, "+", "-", "COUNT", "1"), want[4:])
	same("XREAD", ask[byKey](t, server, "XREAD", "COUNT", "2", "STREAMS", key, want[1].ID.String())[key], want[2:4])

	// A group. Two consumers share the entries. One acknowledges. The other dies, and its entries
	// are taken over.
	if ok := server.CLI("XGROUP", "CREATE", key, "indexers", "0"); ok != "OK" {
		t.Errorf("XGROUP CREATE said %s", ok)
	}
	group := func(consumer, after string) []native {
		return ask[byKey](t, server, "XREADGROUP", "GROUP", "indexers", consumer, "COUNT", "2", "STREAMS", key, after)[key]
	}
	same("the first of the group", group("a", ">"), want[:2])
	same("the second of the group", group("b", ">"), want[2:4])
	if n := server.CLI("XACK", key, "indexers", want[0].ID.String(), want[1].ID.String()); n != "2" {
		t.Errorf("XACK said %s", n)
	}
	if pending := ask[[]json.RawMessage](t, server, "XPENDING", key, "indexers"); string(pending[0]) != "2" {
		t.Errorf("XPENDING said %s", pending)
	}
	same("what the second has not acknowledged", group("b", "0"), want[2:4])
	claimed := ask[[]json.RawMessage](t, server, "XAUTOCLAIM", key, "indexers", "a", "0", "0-0")
	var taken []native
	if err := json.Unmarshal(claimed[1], &taken); err != nil {
		t.Fatal(err)
	}
	same("what the first took over", taken, want[2:4])

	// A waiting reader gets the appended entries, whatever other readers do.
	waiting := make(chan []native, 1)
	wait := func(after string, keys ...string) {
		ids := append([]string{after}, "0-0")[:len(keys)]
		waiting <- ask[byKey](t, server, append(append([]string{"XREAD", "BLOCK", "20000", "STREAMS"}, keys...), ids...)...)[keys[len(keys)-1]]
	}
	blocked := func() bool {
		for line := range strings.Lines(server.CLI("CLIENT", "LIST")) {
			if strings.Contains(line, "cmd=xread") && strings.Contains(line, "flags=b") {
				return true
			}
		}
		return false
	}
	go wait("$", key)
	server.Await("an XREAD that waits", blocked)
	more := appendOne(1)
	same("XREAD BLOCK", <-waiting, more)
	same("the rest of the group", group("a", ">"), append(want[4:5:5], more...))

	// No entry follows the marker.
	go wait(more[0].ID.String(), key, closed)
	server.Await("an XREAD that waits", blocked)
	if err := stream.Close(t.Context(), "feed removed"); err != nil {
		t.Fatal(err)
	}
	marker := <-waiting
	if len(marker) != 1 || marker[0].id != "1-0" || marker[0].fields["reason"] != "feed removed" {
		t.Fatalf("the marker of a closed stream is %v", marker)
	}
	var at int64
	if _, err := fmt.Sscan(marker[0].fields["at"], &at); err != nil || time.Since(time.UnixMicro(at)).Abs() > time.Minute {
		t.Errorf("closed at %s", marker[0].fields["at"])
	}
	send.check(t, stream)

	// The stream has the documented keys and no others.
	keys := strings.Fields(server.CLI("KEYS", "tempestd:{feed}*"))
	slices.Sort(keys)
	if want := []string{key, key + ":blocks", closed, key + ":lease", key + ":meta"}; !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
}
