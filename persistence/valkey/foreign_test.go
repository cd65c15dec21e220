package valkey_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// Entries of other clients are shown as JSON that names them as foreign, whatever they contain.
// Pages continue after them, the feed continues, and they are reported once.
func TestForeignEntriesAreShownAsSuch(t *testing.T) {
	t.Parallel()
	onBothEngines(t, valkeytest.Options{}, func(t *testing.T, server *valkeytest.Server) {
		var mu sync.Mutex
		var told []persistence.ForeignEntry
		v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, OnNotice: func(e persistence.Notice) {
			if e, ok := e.(persistence.ForeignEntry); ok {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, e)
			}
		}})
		s, _ := openOwned(t, v, "a")
		send := newSender()
		put := func(n int) {
			t.Helper()
			// The appends step over the IDs of other clients.
			if _, err := appendThrough(t.Context(), s, send.batch(n)); err != nil {
				t.Fatal(err)
			}
		}
		put(3)
		for _, fields := range [][]string{{"x", "y"}, {"json", "no JSON"}, {"json", "\x80\xff"}, {"json", "{\"a\":\"\xff\"}"}, {"json", "17"}, {"json", ""}, {"json", "{}\n{}"}, {"other", "1", "json", `{"kind"`}} {
			server.CLI(append([]string{"XADD", "tempestd:{feed}", "*"}, fields...)...)
			put(2)
		}
		// This entry cannot be told from an entry of the store.
		server.CLI("XADD", "tempestd:{feed}", "*", "json", `{"somebody":"else's"}`)

		var ours []string
		foreign, last := 0, persistence.EntryID{}
		for after := persistence.FromBeginning(); ; {
			page, err := s.Tail(t.Context(), after, 0, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Entries) == 0 {
				break
			}
			for _, f := range page.Entries {
				if !json.Valid(f.Event) || !utf8.Valid(f.Event) || f.ID.Compare(last) <= 0 {
					t.Errorf("entry %s after %s is %q", f.ID, last, f.Event)
				}
				last = f.ID
				var e struct{ Kind, ID string }
				if err := json.Unmarshal(f.Event, &e); err != nil {
					t.Fatal(err)
				}
				switch e.Kind {
				case "foreign":
					if foreign++; e.ID != f.ID.String() {
						t.Errorf("entry %s is shown as %s", f.ID, f.Event)
					}
				case "":
				default:
					ours = append(ours, string(f.Event))
				}
			}
			after = persistence.CursorAt(last)
		}
		if strings.Join(ours, "\n") != strings.Join(send.want, "\n") || foreign != 8 {
			t.Errorf("%d entries of ours, want %d; %d of somebody else's, want 8", len(ours), len(send.want), foreign)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(told) != 1 || told[0].Stream != "feed" {
			t.Errorf("told of %v", told)
		}
	})
}

// Entries between two appends belong to neither of them, so a replay is compared with the stored
// events only.
func TestForeignEntriesBetweenBlocks(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	s, _ := openOwned(t, v, "a")
	send := newSender()
	var blocks []persistence.EntryID
	for i := range 3 {
		batch := send.batch(4)
		// The appends step over the IDs of other clients.
		if _, err := appendThrough(t.Context(), s, batch); err != nil {
			t.Fatal(err)
		}
		cp, err := s.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, cp.LastID)
		server.CLI("XADD", "tempestd:{feed}", fmt.Sprintf("%d-%d", cp.LastID.MS, cp.LastID.Seq+1), "n", fmt.Sprint(i))
	}
	for k, last := range blocks {
		for i := range 4 {
			if event, err := s.Entry(t.Context(), last, i); err != nil || string(event) != send.want[4*k+i] {
				t.Errorf("entry %d of block %d is %.60q, %v", i, k, event, err)
			}
		}
	}
}

// An entry far in the future leaves no IDs for new entries. The store refuses appends with an error
// that names the entry, and nothing else happens.
func TestAForeignEntryInTheFutureStopsTheFeedInWords(t *testing.T) {
	t.Parallel()
	onBothEngines(t, valkeytest.Options{}, func(t *testing.T, server *valkeytest.Server) {
		v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
		s, _ := openOwned(t, v, "a")
		send := newSender()
		if _, err := s.Append(t.Context(), send.batch(3), messages.Checkpoint{}); err != nil {
			t.Fatal(err)
		}
		future := fmt.Sprintf("%d-7", time.Now().Add(time.Hour).UnixMilli())
		for _, id := range []string{future, "18446744073709551615-18446744073709551615"} {
			server.CLI("XADD", "tempestd:{feed}", id, "x", "y")
			batch := newSender().batch(2)
			for range 3 {
				_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
				if !persistence.Temporary(err) || !strings.Contains(err.Error(), "the store refuses: tempestd:{feed} was given the ID "+id+" by somebody else") {
					t.Fatalf("got %v", err)
				}
			}
			if err := v.Health(); err == nil || !strings.Contains(err.Error(), id) {
				t.Errorf("the health is %v", err)
			}
			page, err := s.Tail(t.Context(), persistence.FromBeginning(), 0, 100)
			if err != nil || len(page.Entries) < 4 || !json.Valid(page.Entries[3].Event) {
				t.Errorf("%d entries, %v", len(page.Entries), err)
			}
		}
	})
}

// Keys that contain something else, or something that this version does not know, are refused with
// a clear error by every operation that uses them.
func TestKeysOfAnotherKindAreRefusedInWords(t *testing.T) {
	t.Parallel()
	onBothEngines(t, valkeytest.Options{}, func(t *testing.T, server *valkeytest.Server) {
		for name, spoil := range map[string]func(key string){
			"the stream":                   func(key string) { server.CLI("DEL", key); server.CLI("SET", key, "x") },
			"the meta":                     func(key string) { server.CLI("DEL", key+":meta"); server.CLI("SET", key+":meta", "x") },
			"the blocks":                   func(key string) { server.CLI("DEL", key+":blocks"); server.CLI("SET", key+":blocks", "x") },
			"a block without fingerprints": func(key string) { server.CLI("XADD", key+":blocks", "*", "f", "1-1", "n", "3") },
			"a layout to come":             func(key string) { server.CLI("HSET", key+":meta", "layout", "9") },
			"a last that is no ID":         func(key string) { server.CLI("HSET", key+":meta", "last", "x\x1b[2J") },
			"entries that are none":        func(key string) { server.CLI("HSET", key+":meta", "entries", "many") },
			"a checkpoint that is no":      func(key string) { server.CLI("HSET", key+":meta", "checkpoint", "{", "cursor", "{") },
			"consumers that are none":      func(key string) { server.CLI("HSET", key+":consumers", "c", "[") },
		} {
			server.CLI("FLUSHALL")
			v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
			s, lease := openOwned(t, v, "a")
			send := newSender()
			if _, err := s.Append(t.Context(), send.batch(3), messages.Checkpoint{}); err != nil {
				t.Fatal(err)
			}
			refused := 0
			check := func(what string, err error) {
				if err == nil {
					return
				}
				refused++
				if !persistence.Temporary(err) || reason(err) != "refused" || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 600 {
					t.Errorf("%s with %s spoilt: %q", what, name, err)
				}
			}
			uses := everyUse(v, s, lease, func() *messages.Batch { return send.batch(1) })
			delete(uses, "tail") // it appends until it is answered
			for what, use := range uses {
				spoil("tempestd:{feed}") // the use before may have repaired it
				check(what, use(t.Context()))
			}
			again, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{Lease: lease})
			if err != nil {
				t.Fatal(err)
			}
			_, err = again.Append(t.Context(), send.batch(1), messages.Checkpoint{})
			check("the append of a new handle", err)
			if refused == 0 {
				t.Errorf("nothing is refused with %s spoilt", name)
			}
			v.Close()
		}
	})
}

// A name in the list of streams that no stream can have is not listed.
func TestForeignNamesAreNotListed(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	s, _ := openOwned(t, v, "a")
	if _, err := s.Append(t.Context(), newSender().batch(3), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	server.CLI("SADD", "tempestd:streams", "\x1b[31mred", "UPPER", "../up", "a}b{", "")
	streams, err := v.Streams(t.Context())
	if err != nil || len(streams) != 1 || streams[0].Name != "feed" {
		t.Errorf("listed %+v, %v", streams, err)
	}
}
