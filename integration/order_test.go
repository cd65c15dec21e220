package integration_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestI3_TimesThatStepBack sends events whose upstream times step back repeatedly, as in the relay
// order of the production network. They must be stored in the order in which they were sent. With
// TEMPEST_CORPUS the test also sends recorded real frames.
func TestI3_TimesThatStepBack(t *testing.T) {
	t.Parallel()
	var made []string
	for i := range 300 {
		us := 1795327636563030 + int64(i)*1000 - int64(i%7)*4321
		made = append(made, fmt.Sprintf(`{"did":"did:plc:333libf5czqkykcsyqbqtcvs","time_us":%d,"kind":"commit","commit":{"rev":"3ke6kg3wxps22","operation":"delete","collection":"app.bsky.feed.like","rkey":"r%d"}}`, us, i))
	}
	captures := map[string][]string{"made": made}
	if corpus := os.Getenv("TEMPEST_CORPUS"); corpus != "" {
		for _, name := range []string{"real_v1.jsonl", "real_v1_shapes.jsonl", "captured_v1.jsonl"} {
			data, err := os.ReadFile(filepath.Join(corpus, name))
			if err != nil {
				t.Fatal(err)
			}
			captures[name] = strings.Split(strings.TrimSpace(string(data)), "\n")
		}
	}
	for name, frames := range captures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ws, err := websocket.Accept(w, r, nil)
				if err != nil {
					return
				}
				defer ws.CloseNow()
				for _, f := range frames {
					if ws.Write(r.Context(), websocket.MessageText, []byte(f)) != nil {
						return
					}
				}
				<-ws.CloseRead(r.Context()).Done() // until the daemon closes the connection
			}))
			defer server.Close()
			d := newDaemon(t, "ws"+strings.TrimPrefix(server.URL, "http")+"/subscribe", nil)
			d.startLive()
			d.awaitStored(uint64(len(frames)))
			i := 0
			for event, err := range d.entries() {
				if err != nil {
					t.Fatal(err)
				}
				if i == len(frames) || !bytes.Equal(event, []byte(frames[i])) {
					t.Fatalf("entry %d is %s", i, event)
				}
				i++
			}
			if i != len(frames) {
				t.Errorf("%d entries of %d", i, len(frames))
			}
			d.stop()
		})
	}
}
