package jetsim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"tempestd/internal/jetsim"
)

// say sends a text message.
func (c *client) say(format string, args ...any) {
	c.t.Helper()
	if err := c.conn.Write(c.ctx, websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func TestRequireHelloWaitsAndThenReplaysFromTheCursor(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 1000})
	all := subscribe(t, s, "cursor=0").read(1000)
	conn, r := rawUpgrade(t, s, "/subscribe?cursor=0&requireHello=true", "")
	// The pong is the first frame: the server sends nothing before it, and an unknown type does not
	// count as an options_update.
	for _, b := range [][]byte{clientFrame(0x81, `{"type":"hello","payload":{}}`), clientFrame(0x89, "?")} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	s.Produce(10)
	if head, _ := rawFrame(t, r); head != 0x8a {
		t.Fatalf("a frame %#x comes before the hello", head)
	}
	if _, err := conn.Write(clientFrame(0x81, `{"type":"options_update","payload":{}}`)); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if _, payload := rawFrame(t, r); string(payload) != string(all[i]) {
			t.Fatalf("frame %d is %s", i, payload)
		}
	}
}

func TestRequireHelloWithoutCursorBeginsAtTheTipThatIsThen(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 10})
	conn, r := rawUpgrade(t, s, "/subscribe?requireHello=true", "")
	s.Produce(100) // no subscriber gets these
	newest := s.Stats().NewestSeq
	for _, b := range [][]byte{clientFrame(0x81, `{"type":"options_update","payload":{}}`), clientFrame(0x89, "?")} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if head, _ := rawFrame(t, r); head != 0x8a {
		t.Fatalf("%#x", head)
	}
	s.Produce(1)
	_, payload := rawFrame(t, r)
	var f frame
	if err := json.Unmarshal(payload, &f); err != nil || f.seq() <= newest {
		t.Errorf("begins with seq %d, want more than %d", f.seq(), newest)
	}
}

func TestOptionsUpdateReplacesTheWholeFilter(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 2000, Accounts: 50})
	all := decode(t, subscribe(t, s, "cursor=0").read(2000))
	account := all[0].DID
	var likes, ofAccount []string
	for _, f := range all {
		if f.Kind != "commit" || f.Commit.Collection == "app.bsky.feed.like" {
			likes = append(likes, f.identity())
		}
		if f.DID == account {
			ofAccount = append(ofAccount, f.identity())
		}
	}
	for update, want := range map[string][]string{
		`{"wantedCollections":["app.bsky.feed.like"],"maxMessageSizeBytes":-1}`: likes,
		fmt.Sprintf(`{"wantedDids":[%q]}`, account):                             ofAccount,
		`null`: identities(all),
	} {
		c := subscribe(t, s, "cursor=0&requireHello=true&wantedCollections=app.bsky.graph.block&maxMessageSizeBytes=100")
		c.say(`{"type":"options_update","payload":%s}`, update)
		if got := identities(decode(t, c.read(len(want)))); !slices.Equal(got, want) {
			t.Errorf("%s gives other events", update)
		}
	}
}

func identities(frames []frame) (ids []string) {
	for _, f := range frames {
		ids = append(ids, f.identity())
	}
	return ids
}

func TestOptionsUpdateOfARunningSubscription(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 10})
	conn, r := rawUpgrade(t, s, "/subscribe?wantedCollections=app.bsky.graph.block", "")
	for _, b := range [][]byte{clientFrame(0x81, `{"type":"options_update","payload":{"wantedCollections":["app.bsky.feed.like"]}}`), clientFrame(0x89, "?")} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if head, _ := rawFrame(t, r); head != 0x8a {
		t.Fatalf("%#x", head)
	}
	s.Produce(300)
	for range 100 {
		_, payload := rawFrame(t, r)
		var f frame
		if err := json.Unmarshal(payload, &f); err != nil || f.Kind == "commit" && f.Commit.Collection != "app.bsky.feed.like" {
			t.Errorf("%v: %s", err, payload)
		}
	}
}

func TestBadOptionsUpdatesCloseTheConnection(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 500})
	for text, want := range map[string]struct {
		code   websocket.StatusCode
		reason string
	}{
		`{"type":"options_update","payload":{"wantedCollections":["garbage"]}}`:                          {1008, "subscribe: invalid options: invalid collection: garbage"},
		`{"type":"options_update","payload":{"wantedDids":["nobody"]}}`:                                  {1008, "subscribe: invalid options: invalid DID: nobody"},
		`{"type":"options_update","payload":{"wantedCollections":["` + strings.Repeat("x", 200) + `"]}}`: {1008, "subscribe: invalid options: invalid collection: " + strings.Repeat("x", 72) + "..."},
		`{"type":`:                  {1007, "bad SubscriberSourcedMessage envelope"},
		`[]`:                        {1007, "bad SubscriberSourcedMessage envelope"},
		`{"type":"options_update"}`: {1007, "bad options_update payload"},
		`{"type":"options_update","payload":"all"}`:                        {1007, "bad options_update payload"},
		`{"type":"options_update","payload":{"wantedDids":"did:plc:one"}}`: {1007, "bad options_update payload"},
	} {
		c := subscribe(t, s, "cursor=0")
		c.say("%s", text)
		var ce websocket.CloseError
		if _, err := c.rest(); !errors.As(err, &ce) || ce.Code != want.code || ce.Reason != want.reason {
			t.Errorf("%.80s ends with %v, want %v %q", text, err, want.code, want.reason)
		}
	}
}

// didList returns a JSON list of n accounts.
func didList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"did:web:host%d.example"`, i)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

func TestOptionsUpdateTakes10000DIDsAnd10MB(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 50})
	account := decode(t, subscribe(t, s, "cursor=0").read(1))[0].DID
	// This works with compressed messages too: the client compresses long messages.
	for _, mode := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionContextTakeover} {
		opt := &websocket.DialOptions{CompressionMode: mode}
		c := subscribeWith(t, s.URL()+"?cursor=0&requireHello=true", opt)
		list := strings.Replace(didList(10_000), `"did:web:host0.example"`, fmt.Sprintf("%q", account), 1)
		c.say(`{"type":"options_update","payload":{"wantedDids":%s}}`, list)
		if f := decode(t, c.read(1))[0]; f.DID != account {
			t.Errorf("mode %v: an event of %s", mode, f.DID)
		}
		c = subscribeWith(t, s.URL()+"?requireHello=true", opt)
		c.say(`{"type":"options_update","payload":{"wantedDids":%s}}`, didList(10_001))
		var ce websocket.CloseError
		if _, err := c.rest(); !errors.As(err, &ce) || ce.Code != 1008 || ce.Reason != "subscribe: invalid options: too many wanted DIDs: 10001 > 10000" {
			t.Errorf("mode %v: 10001 accounts end with %v", mode, err)
		}
		c = subscribeWith(t, s.URL()+"?requireHello=true", opt)
		// The server may close the connection during the write.
		_ = c.conn.Write(c.ctx, websocket.MessageText, make([]byte, 10_000_001))
		if _, err := c.rest(); websocket.CloseStatus(err) != 1009 && websocket.CloseStatus(err) != -1 {
			t.Errorf("mode %v: 10 MB and a byte end with %v", mode, err)
		}
	}
}

func FuzzOptionsUpdate(f *testing.F) {
	s := start(f, jetsim.Options{})
	for _, text := range []string{`{"type":"options_update","payload":{}}`, `{"type":"options_update","payload":null}`, `{}`, `null`, `{"type":3}`,
		`{"type":"options_update","payload":{"wantedDids":["did:plc:x"],"maxMessageSizeBytes":-1}}`, "\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		conn, r := rawUpgrade(t, s, "/subscribe", "")
		defer conn.Close()
		for _, b := range [][]byte{clientFrame(0x81, string(text)), clientFrame(0x89, "?")} {
			if _, err := conn.Write(b); err != nil {
				return // the server has closed the connection
			}
		}
		if head, _ := rawFrame(t, r); head != 0x8a && head != 0x88 {
			t.Errorf("answered by %#x", head)
		}
	})
}
