package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"tempestd/internal/client"
	"tempestd/internal/serve"
	"tempestd/messages"
	"tempestd/persistence"

	"github.com/jonboulle/clockwork"
)

// texts returns the texts of the posts in JSON lines.
func texts(t *testing.T, out string) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(out) {
		var entry struct {
			ID    messages.EntryID
			Event struct {
				Commit struct{ Record struct{ Text string } }
			}
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, entry.Event.Commit.Record.Text)
	}
	return all
}

func numbered(first, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("post %d", first+i))
	}
	return all
}

func TestTailFindsItsPosition(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 2500)...)
	d.last += 3_600_000_000 // an hour without events, which makes the guess at the rate wrong
	d.append(t, posts(2500, 20)...)
	tests := []struct {
		args string
		want []string
	}{
		{"", numbered(2510, 10)},
		{"-n 0", nil},
		{"-n 3", numbered(2517, 3)},
		{"-n 1500", numbered(1020, 1500)},
		{"-n 9999", numbered(0, 2520)},
		{"--from-start", numbered(0, 2520)},
		{"--from-start -n 2", numbered(0, 2)},
		{"--from-start -n 1001", numbered(0, 1001)},
		{"--from-start -n 0", nil},
		{"--after 0-0 -n 1", numbered(0, 1)},
		{"--after 2500-0 -n 2", numbered(2500, 2)},
		{"--since 10m", nil}, // the events are from 1970
		{"--from-start -n 5 -f", numbered(0, 5)},
		{"--since 1970-01-01T00:00:00.010Z --until 1970-01-01T00:00:00.013Z", numbered(9, 3)},
		{"--since 1970-01-01T00:00:00.010Z --until 1970-01-01T00:00:00.013Z -f", numbered(9, 3)},
		{"--until 1970-01-01T00:00:00.013Z -n 2", numbered(10, 2)},
		{"--until 1970-01-01T00:00:00.001Z", nil},
		{"--until 1d -n 2", numbered(2518, 2)},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			p := run(t, append([]string{"tail", "sky", "--addr", d.URL}, strings.Fields(tt.args)...)...)
			if got := texts(t, p.out.String()); p.code != 0 || !slices.Equal(got, tt.want) {
				t.Errorf("exit %d, %d entries, want %d; first %.1q, last %.1q\n%s", p.code, len(got), len(tt.want), got, got[max(0, len(got)-1):], p.err)
			}
		})
	}
}

// Entries that come while the last ones are read must not add to them.
func TestTheLastEntriesAreAsManyAsAskedForWhileMoreCome(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 100)...)
	c, err := client.New(d.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reading := &tail{client: c, stream: "sky"}
	got, err := reading.newest(t.Context(), "0-0", messages.EntryID{MS: 50}, 2)
	if err != nil || len(got) != 2 || got[1].ID.MS != 50 {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

func TestTailPrintsWhatItsFilterWants(t *testing.T) {
	d := newFakeDaemon(t, "")
	for i := range 30 {
		d.append(t, fmt.Sprintf(`{"did":"did:plc:%c","time_us":%d,"kind":"identity","identity":{}}`, 'a'+i%3, i+1))
	}
	for args, want := range map[string]int{
		"--did did:plc:b -n 4": 4, "--did did:plc:b,did:plc:c --from-start": 20, "--kind identity --did did:plc:a -n 99": 10,
		"--kind account --from-start": 0, "--collection app.bsky.feed.* --from-start -n 7": 7,
	} {
		p := run(t, append([]string{"tail", "sky", "--addr", d.URL}, strings.Fields(args)...)...)
		if n := strings.Count(p.out.String(), "\n"); p.code != 0 || n != want {
			t.Errorf("%s: exit %d, %d entries, want %d\n%s", args, p.code, n, want, p.err)
		}
	}
	p := run(t, "tail", "sky", "--addr", d.URL, "--kind", "like", "--did", "bob")
	if p.code != 2 || !strings.Contains(p.err.String(), `invalid DID: bob`) || !strings.Contains(p.err.String(), "commit, identity, account, sync, gap") {
		t.Errorf("a bad filter: exit %d\n%s", p.code, p.err)
	}
}

func TestTailSaysWhatRetentionHasDropped(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 10)...)
	d.append(t, posts(10, 10)...)
	if _, err := d.stream.Trim(t.Context(), persistence.Retention{Entries: 10}); err != nil {
		t.Fatal(err)
	}
	p := run(t, "tail", "sky", "--addr", d.URL, "--after", "3-0", "-f")
	if p.code != 1 || p.out.String() != "" || !strings.Contains(p.err.String(), "--after 10-0 begins with the oldest that is left") {
		t.Errorf("exit %d\n%s%s", p.code, p.out, p.err)
	}
}

func TestTailPrintsEventsVerbatimOneALine(t *testing.T) {
	d := newFakeDaemon(t, "")
	spaced := `{ "did" : "did:plc:a", "kind":"commit" ,"x":1.0e2,"u":"\u00e9\/"}`
	d.append(t, spaced, "{\n\t\"did\": \"a b\"\r\n}")
	p := run(t, "tail", "sky", "--addr", d.URL)
	want := `{"id":"1-0","event":` + spaced + "}\n" + `{"id":"2-0","event":{"did":"a b"}}` + "\n"
	if p.out.String() != want {
		t.Errorf("got\n%swant\n%s", p.out, want)
	}
}

// An entry, a name or a reason may hold any bytes: the terminal gets no character that it would
// obey, and the JSON keeps its meaning.
func TestNothingFromOutsideReachesATerminalAsItIs(t *testing.T) {
	obeyed := "\u009b31m\u0080\u009f\u007f\u202e\u2066\u2069\u200f\ufeff\xff\xc2"
	d := newFakeDaemon(t, "")
	event := fmt.Sprintf(`{"did":"did:plc:%[1]s","kind":"commit","commit":{"operation":"%[1]s","collection":"app.bsky.feed.post","rkey":"%[1]s","record":{"text":"é%[1]s"}}}`, obeyed)
	d.append(t, event)
	d.control.status.Reason, d.control.status.Owner, d.control.status.Fence = obeyed+"\x1b[2J", obeyed, 1
	d.control.status.Standbys, d.control.status.Endpoint = []string{obeyed}, obeyed
	if err := d.stream.Close(t.Context(), "gone"+obeyed); err != nil {
		t.Fatal(err)
	}
	gap := messages.GapRow{ID: "a" + obeyed, Version: 1, Feed: "sky" + obeyed, State: messages.GapState(obeyed), Why: obeyed, Missing: obeyed, Source: messages.GapSource(obeyed),
		Gap: messages.Gap{Host: obeyed, Cause: messages.GapCause(obeyed)}}
	if err := d.stream.SaveGaps(t.Context(), []messages.GapRow{gap}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"gaps"}, {"gaps", "--json"}, {"gaps", "repair", "a"}, {"gaps", "repair", "b"}, {"tail", "sky", "--json"}, {"tail", "sky", "-f"}, {"status"}, {"status", "--json"}, {"tail", obeyed}, {"pause", obeyed}, {"consumer", "list", obeyed}, {"close", obeyed, "--reason", obeyed}} {
		p := run(t, append(args, "--addr", d.URL)...)
		for _, text := range []string{p.out.String(), p.err.String()} {
			if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
				return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\ufeff'
			}) {
				t.Errorf("%q prints %q", args, text)
			}
		}
	}
	var got struct{ Event json.RawMessage }
	p := run(t, "tail", "sky", "--json", "--addr", d.URL)
	if err := json.Unmarshal([]byte(p.out.String()), &got); err != nil {
		t.Fatalf("%v: %s", err, p.out)
	}
	var want, have any
	if err := errors.Join(json.Unmarshal([]byte(event), &want), json.Unmarshal(got.Event, &have)); err != nil || !reflect.DeepEqual(want, have) {
		t.Errorf("%v: %s means something else than %q", err, got.Event, event)
	}
}

func TestTailFollowsUntilTheStreamIsClosed(t *testing.T) {
	d := newFakeDaemon(t, "")
	away := time.Now().Add(-11 * time.Minute)
	d.control.status = messages.FeedStatus{Feed: "sky", State: messages.StateDisconnected, Since: time.Now(), AwaySince: &away, Reason: "connection refused"}
	d.append(t, posts(0, 3)...)
	t.Chdir(t.TempDir())
	p := process{out: newBuffer(), err: newBuffer()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(context.Background(), nil, "tail", "sky", "-n", "1", "-f", "--addr", d.URL)
	}()
	p.out.await(t, "post 2")
	p.err.await(t, "stream sky: its feed is disconnected, away for 11m0s: connection refused\nwaiting for it …\n")
	d.append(t, posts(3, 2)...)
	p.out.await(t, "post 4")
	if err := d.stream.Close(t.Context(), "feed removed"); err != nil {
		t.Fatal(err)
	}
	<-done
	if got := texts(t, p.out.String()); p.code != 0 || !slices.Equal(got, numbered(2, 3)) || !strings.Contains(p.err.String(), "stream sky is closed: feed removed") {
		t.Errorf("exit %d: %v\n%s", p.code, got, p.err)
	}
}

func TestTailSurvivesARestartOfTheDaemon(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 1)...)
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	p := process{out: newBuffer(), err: newBuffer()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(ctx, nil, "tail", "sky", "-f", "--addr", d.Listener.Addr().String())
	}()
	p.out.await(t, "post 0")
	addr := d.Listener.Addr().String()
	d.stop(t)
	p.err.await(t, "waiting for it")
	d.append(t, posts(1, 2)...)
	again := httptest.NewUnstartedServer(serve.New(serve.Options{Store: d.store, Control: d.control, Observer: d.observer, Clock: clockwork.NewRealClock()}).Handler())
	defer again.Close()
	relisten(t, again, addr)
	p.out.await(t, "post 2")
	p.err.await(t, "the daemon is back; going on after 1-0")
	cancel(signalled{syscall.SIGINT})
	<-done
	if got := texts(t, p.out.String()); p.code != 130 || !slices.Equal(got, numbered(0, 3)) {
		t.Errorf("exit %d: %v\n%s", p.code, got, p.err)
	}
	if strings.Count(p.err.String(), "\n") != 3 {
		t.Errorf("the interrupt should end it quietly:\n%s", p.err)
	}
}

func TestTokensAreFoundAndNeverSentElsewhere(t *testing.T) {
	d := newFakeDaemon(t, "hunter2")
	addr := d.Listener.Addr().String()
	tokenFile := file(t, "token", "hunter2\n")
	configured := file(t, "config.toml", "[http]\nlisten = \""+addr+"\"\ntoken = \"hunter2\"\n[feeds.sky]\nendpoints = [\"h.example\"]\n")
	tests := []struct {
		name string
		env  []string
		args []string
		code int
	}{
		{"none", nil, []string{"--addr", addr}, 1},
		{"environment", []string{"TEMPESTD_TOKEN", "hunter2"}, []string{"--addr", addr}, 0},
		{"file", nil, []string{"--addr", addr, "--token-file", tokenFile}, 0},
		{"file before environment", []string{"TEMPESTD_TOKEN", "wrong"}, []string{"--addr", addr, "--token-file", tokenFile}, 0},
		{"configuration", nil, []string{"-c", configured}, 0},
		{"configuration asked for, other address", nil, []string{"-c", configured, "--addr", addr}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			p := execIn(t.Context(), tt.env, append([]string{"status"}, tt.args...)...)
			if p.code != tt.code || strings.Contains(p.out.String()+p.err.String(), "hunter2") {
				t.Errorf("exit %d, want %d\n%s%s", p.code, tt.code, p.out, p.err)
			}
		})
	}
	t.Run("configuration found, other address", func(t *testing.T) {
		var sent string
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent += r.Header.Get("Authorization")
			fmt.Fprint(w, `{}`)
		}))
		defer other.Close()
		t.Chdir(t.TempDir())
		if err := os.WriteFile("config.toml", []byte("[http]\ntoken = \"hunter2\"\n[feeds.sky]\nendpoints = [\"h.example\"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		execIn(t.Context(), nil, "status", "--addr", other.URL)
		if sent != "" {
			t.Errorf("the configuration's token went to %s: %s", other.URL, sent)
		}
	})
}

func TestStatusShowsFeedsAndStreams(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 3)...)
	p := run(t, "status", "--addr", d.URL)
	for _, want := range []string{"disconnected", "1m30s", "1,234,567", "1.2s", "2026-11-22 06:07:16Z", "sky", "1970-01-01 00:00:00Z",
		"sky: reset[31m by peer", "not ready: feed sky is not supervised"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, p.out)
		}
	}
	if p.code != 0 || strings.ContainsRune(p.out.String(), '\x1b') {
		t.Errorf("exit %d; colours or an upstream's escapes in a pipe:\n%q", p.code, p.out)
	}
	p = run(t, "status", "--json", "--addr", d.URL)
	var s status
	if err := json.Unmarshal([]byte(p.out.String()), &s); err != nil || s.Feeds[0].Stored != 1_234_567 || s.Streams[0].Entries != 3 || s.Ready.Ready {
		t.Errorf("%v: %s", err, p.out)
	}
}

func TestStatusWatchEndsWellOnInterrupt(t *testing.T) {
	d := newFakeDaemon(t, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Chdir(t.TempDir())
	p := process{out: newBuffer(), err: newBuffer()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(ctx, nil, "status", "--watch", "--json", "--interval", "100ms", "--addr", d.URL)
	}()
	p.out.await(t, "\n")
	cancel(signalled{syscall.SIGINT})
	<-done
	if p.code != 0 || p.err.String() != "" {
		t.Errorf("exit %d: %s", p.code, p.err)
	}
}

func TestControlCommands(t *testing.T) {
	d := newFakeDaemon(t, "")
	for _, verb := range []string{"reconnect", "pause", "resume"} {
		if p := run(t, verb, "sky", "--addr", d.URL); p.code != 0 || p.out.String() != "" || !strings.HasPrefix(p.err.String(), "sky: ") {
			t.Errorf("%s: exit %d\n%s%s", verb, p.code, p.out, p.err)
		}
		if p := run(t, verb, "sea", "--addr", d.URL); p.code != 1 || !strings.Contains(p.err.String(), "the feeds are: sky") {
			t.Errorf("%s of no feed: exit %d\n%s", verb, p.code, p.err)
		}
	}
	if want := []string{"reconnect sky", "pause sky", "resume sky"}; !slices.Equal(d.control.asked, want) {
		t.Errorf("asked %v, want %v", d.control.asked, want)
	}
	p := run(t, "close", "sky", "--reason", "moved", "--addr", d.URL)
	if p.code != 0 || p.out.String() != "" || p.err.String() != "sky: closed at 2026-11-18T11:06:40Z: moved\n" {
		t.Errorf("close: exit %d\n%s%s", p.code, p.out, p.err)
	}
	if p := run(t, "close", "sea", "--reason", "moved", "--addr", d.URL); p.code != 1 || !strings.Contains(p.err.String(), "the streams are: sky") {
		t.Errorf("close of no stream: exit %d\n%s", p.code, p.err)
	}
	if p := run(t, "close", "sky", "--addr", d.URL); p.code != 2 || !strings.Contains(p.err.String(), "reason") {
		t.Errorf("close without a reason: exit %d\n%s", p.code, p.err)
	}
	if p := run(t, "tail", "sea", "--addr", d.URL); p.code != 1 || !strings.Contains(p.err.String(), "the streams are: sky") {
		t.Errorf("tail of no stream: exit %d\n%s", p.code, p.err)
	}
}

func TestNamesComplete(t *testing.T) {
	d := newFakeDaemon(t, "")
	for _, command := range []string{"tail", "pause"} {
		if p := run(t, "__complete", command, "--addr", d.URL, "s"); !strings.HasPrefix(p.out.String(), "sky\n:4") {
			t.Errorf("%s: %s", command, p.out)
		}
		if p := run(t, "__complete", command, "--addr", "127.0.0.1:1", "s"); !strings.HasPrefix(p.out.String(), ":4") {
			t.Errorf("%s without a daemon: %s", command, p.out)
		}
	}
}

// relisten starts a server at an address that another server has just left.
func relisten(t *testing.T, s *httptest.Server, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Listener.Close()
	s.Listener = l
	s.Start()
}
