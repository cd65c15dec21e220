package valkey_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
	"tempestd/persistence/valkey"
)

func openValkey(t *testing.T, opt valkey.Options) *valkey.Store {
	t.Helper()
	v, err := valkey.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// openOwned opens the stream "feed" with a lease for the node.
func openOwned(t *testing.T, v *valkey.Store, node string) (persistence.Stream, messages.Lease) {
	t.Helper()
	lease, err := v.Acquire(t.Context(), "feed", messages.Node{ID: node, Name: "daemon " + node}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	return s, lease
}

// sender makes batches and remembers what the stream must contain.
type sender struct {
	events *streamtest.Events
	want   []string
}

func newSender() *sender {
	return &sender{events: streamtest.NewEvents(5, time.Now().Add(-time.Hour).UnixMicro())}
}

func (s *sender) batch(n int) *messages.Batch {
	b := s.events.Fill(new(messages.Batch), n)
	for i := range b.Events {
		s.want = append(s.want, string(b.Bytes(i)))
	}
	return b
}

// check compares the whole stream.
func (s *sender) check(t *testing.T, stream persistence.Stream) {
	t.Helper()
	var got []string
	for after := persistence.FromBeginning(); ; {
		page, err := stream.Tail(t.Context(), after, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, f := range page.Entries {
			got = append(got, string(f.Event))
			after = persistence.CursorAt(f.ID)
		}
	}
	for i := range min(len(got), len(s.want)) {
		if got[i] != s.want[i] {
			t.Fatalf("entry %d of %d is not what was sent", i, len(got))
		}
	}
	if len(got) != len(s.want) {
		t.Fatalf("%d entries are stored, %d were sent", len(got), len(s.want))
	}
}

// appendThrough appends, and repeats that while the store is away. It returns how often the store
// was away.
func appendThrough(ctx context.Context, s persistence.Stream, b *messages.Batch) (away int, err error) {
	for {
		_, err := s.Append(ctx, b, messages.Checkpoint{Position: messages.Position{Seq: 1}})
		if err == nil || !persistence.Temporary(err) {
			return away, err
		}
		away++
		select {
		case <-ctx.Done():
			return away, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestI2_LostRepliesNeitherDoubleNorLose(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	// A thousand in total.
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			loseReplies(t, server, fmt.Sprintf("t%d:", i), 250)
		})
	}
}

// loseReplies loses the answers of many appends, one after the other.
func loseReplies(t *testing.T, server *valkeytest.Server, prefix string, rounds int) {
	proxy := valkeytest.NewProxy(t, server.Addr)
	v := openValkey(t, valkey.Options{Addresses: []string{proxy.Addr}, Mode: "standalone", Prefix: prefix})
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	if _, err := appendThrough(t.Context(), stream, send.batch(3)); err != nil {
		t.Fatal(err)
	}
	// The swallowed answer may belong to a ping. Only a loss that an append noticed counts.
	for lost := 0; lost < rounds; {
		batch := send.batch([]int{1, 7, 600}[lost%3])
		proxy.SwallowNext()
		away, err := appendThrough(t.Context(), stream, batch)
		if err != nil {
			t.Fatal(err)
		}
		if away > 0 {
			lost++
		}
	}
	send.check(t, stream)
}

func TestI6_FencedWriterCannotAppend(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	other := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	ctx := t.Context()
	first, lease := openOwned(t, v, "a")
	send := newSender()
	if _, err := first.Append(ctx, send.batch(2), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}

	_, err := other.Acquire(ctx, "feed", messages.Node{ID: "b", Name: "daemon b"}, time.Minute)
	held, ok := errors.AsType[*persistence.HeldError](err)
	if !ok || held.Node != "a" || held.Name != "daemon a" || held.Epoch != lease.Epoch || held.Left <= 0 {
		t.Fatalf("a held lease gave %v", err)
	}
	// The lease expires, and another daemon takes over. Then the first one continues.
	if err := v.Renew(ctx, lease, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	server.Await("the lease ends", func() bool { return server.CLI("EXISTS", "tempestd:{feed}:lease") == "0" })
	second, newer := openOwned(t, other, "b")
	if newer.Epoch <= lease.Epoch {
		t.Fatalf("epoch %d follows %d", newer.Epoch, lease.Epoch)
	}
	fenced := func(what string, err error) {
		t.Helper()
		f, ok := errors.AsType[*persistence.FencedError](err)
		if !ok || f.Epoch != lease.Epoch || f.Current != newer.Epoch || f.Owner != "daemon b" {
			t.Errorf("%s by the fenced writer: %v", what, err)
		}
	}
	_, err = first.Append(ctx, streamtest.NewEvents(1, 0).Fill(new(messages.Batch), 1), messages.Checkpoint{})
	fenced("an append", err)
	_, err = first.Append(ctx, new(messages.Batch), messages.Checkpoint{})
	fenced("a checkpoint", err)
	row := messages.GapRow{ID: "a", Version: 1, State: messages.GapOpen}
	fenced("a row of the gaps", first.SaveGaps(ctx, []messages.GapRow{row}))
	readers := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	if reader, err := readers.Stream(ctx, "feed"); err != nil || reader.SaveGaps(ctx, []messages.GapRow{row}) == nil {
		t.Errorf("a row was saved without a lease, or %v", err)
	}
	if rows, err := second.Gaps(ctx); err != nil || len(rows) > 0 {
		t.Errorf("the gaps are %v, %v", rows, err)
	}
	fenced("a renewal", v.Renew(ctx, lease, time.Minute))
	if err := v.Release(ctx, lease); err != nil {
		t.Errorf("to release a lost lease: %v", err)
	}
	if _, err := second.Append(ctx, send.batch(300), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	send.check(t, second)

	owners, err := v.Owners(ctx, []string{"none", "feed"})
	if err != nil || owners[0].Node != "" || owners[1].Node != "b" || owners[1].Epoch != newer.Epoch || owners[1].Left <= 0 {
		t.Errorf("owners %+v, %v", owners, err)
	}
	// A released lease can be acquired at once, and its former holder cannot append.
	if err := other.Release(ctx, newer); err != nil {
		t.Fatal(err)
	}
	_, err = second.Append(ctx, new(messages.Batch), messages.Checkpoint{})
	if f, ok := errors.AsType[*persistence.FencedError](err); !ok || f.Owner != "" {
		t.Errorf("an append after the release: %v", err)
	}
	third, _ := openOwned(t, v, "a")
	if _, err := third.Append(ctx, send.batch(1), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	send.check(t, third)
}

func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	names := func() string {
		nodes, err := v.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, n := range nodes {
			ids = append(ids, n.ID+"="+n.Name+fmt.Sprint(n.Streams))
		}
		return strings.Join(ids, " ")
	}
	for _, n := range []messages.Node{{ID: "b", Name: "B", Streams: []string{"x", "y"}}, {ID: "a", Name: "A", Streams: []string{"x"}}} {
		if err := v.Announce(t.Context(), n, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(); got != "a=A[x] b=B[x y]" {
		t.Errorf("nodes %s", got)
	}
	if err := v.Announce(t.Context(), messages.Node{ID: "a", Name: "A"}, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	server.Await("a node's time is over", func() bool { return names() == "b=B[x y]" })
	if err := v.Withdraw(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if got := names(); got != "" {
		t.Errorf("nodes %s after the last was withdrawn", got)
	}
}

// If a server comes back without its data, the writer gets a conflict. A new handle continues from
// the data that is there.
func TestI2_LostDataIsAConflict(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	stream, lease := openOwned(t, v, "a")
	if _, err := stream.Append(t.Context(), newSender().batch(5), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	server.CLI("HSET", "tempestd:{feed}:meta", "last", "5-5")
	_, err := stream.Append(t.Context(), newSender().batch(5), messages.Checkpoint{})
	conflict, ok := errors.AsType[*persistence.ConflictError](err)
	if !ok || conflict.Found != (persistence.EntryID{MS: 5, Seq: 5}) {
		t.Fatalf("got %v", err)
	}
	server.CLI("FLUSHALL")
	_, err = stream.Append(t.Context(), newSender().batch(5), messages.Checkpoint{})
	if err == nil || persistence.Temporary(err) {
		t.Errorf("on an empty server: %v", err)
	}
	if err := v.Renew(t.Context(), lease, time.Minute); err == nil {
		t.Error("the lease of an empty server was renewed")
	}
	send := newSender()
	again, _ := openOwned(t, v, "a")
	if _, err := again.Append(t.Context(), send.batch(5), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	send.check(t, again)
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := valkey.Open(t.Context(), valkey.Options{Mode: "both", DB: -1, Prefix: "a{b}", Fields: []string{"did", "rev"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"Addresses is empty", `Mode is "both"`, "DB is -1", `Prefix is "a{b}"`, `Fields has "rev"`, "Describe is missing"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q is not in %q", field, err)
		}
	}
	if _, ok := errors.AsType[*persistence.ConfigError](err); !ok {
		t.Errorf("%T is no ConfigError", err)
	}
}

// The error of a server that refuses the password contains no secret, and it is temporary, because
// an operator can correct it (I10).
func TestI10_WrongPassword(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{Args: []string{"--requirepass", "right-secret"}})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, Password: "wrong-secret"})
	err := v.Health()
	if !persistence.Temporary(err) || strings.Contains(err.Error(), "secret") {
		t.Errorf("health with a wrong password: %v", err)
	}
}

func TestFieldsBesideTheEvent(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, Fields: []string{"kind", "did", "time_us", "collection"},
		Describe: func([]byte) (did, collection []byte) { return []byte("did:plc:x"), []byte("app.bsky.feed.like") }})
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	batch := send.batch(2)
	if _, err := stream.Append(t.Context(), batch, messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	send.check(t, stream)
	got := strings.Fields(server.CLI("XRANGE", "tempestd:{feed}", "-", "+", "COUNT", "1"))
	want := []string{"json", send.want[0], "kind", batch.Events[0].Kind.String(), "did", "did:plc:x", "time_us", fmt.Sprint(batch.Events[0].TimeUS), "collection", "app.bsky.feed.like"}
	if strings.Join(got[1:], " ") != strings.Join(want, " ") {
		t.Errorf("entry %v, want %v", got[1:], want)
	}
}

// The first append of a stream is cut short after its first entries. Then there is no checkpoint,
// and still the rest of the append is not forgotten.
func TestI1_AFirstAppendThatWasCutShortHasAPosition(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	s, _ := openOwned(t, v, "a")
	if _, err := s.Checkpoint(t.Context()); !errors.Is(err, persistence.ErrNoCheckpoint) {
		t.Fatalf("a new stream: %v", err)
	}
	b := newSender().batch(100)
	if _, err := s.Append(t.Context(), b, messages.Checkpoint{Position: messages.Position{TimeUS: b.TimeUS}}); err != nil {
		t.Fatal(err)
	}
	// The state when only some of the chunks were stored: the last chunk has the checkpoint.
	server.CLI("HDEL", valkey.DefaultPrefix+"{feed}:meta", "checkpoint")
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cp, err := s.Checkpoint(t.Context())
	if err != nil || cp.TimeUS != b.Events[0].TimeUS || cp.Host != "" || cp.LastID != *info.Newest {
		t.Errorf("got %+v, %v; want the time of the first entry, %d, and the end of the stream, %v", cp, err, b.Events[0].TimeUS, *info.Newest)
	}
}
