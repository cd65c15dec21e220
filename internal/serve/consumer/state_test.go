package consumer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/serve/api"
	"tempestd/persistence"
)

func at(n int) persistence.EntryID { return persistence.EntryID{MS: uint64(n)} }

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// newToken returns a token with a random part, as a request does.
func newToken(last persistence.EntryID) string { return Token(last, rand.Text()) }

// lost reports whether the error says that the lease is lost, and is answered so.
func lost(err error) bool {
	answer, ok := errors.AsType[*api.Error](leaseError(err, "token"))
	return ok && answer.Status == http.StatusConflict && answer.Name == api.NameLeaseLost
}

func TestConsumerStateMachine(t *testing.T) {
	const lease = 30 * time.Second
	old, current := newToken(at(20)), newToken(at(20))
	type state = State
	out := state{Acked: at(10), MovedAt: noon, Lease: persistence.ConsumerLease{Token: current, Last: at(20), Until: noon.Add(lease), Deliveries: 2}}
	back := state{Acked: at(10), MovedAt: noon, Lease: persistence.ConsumerLease{Last: at(20), Until: noon.Add(time.Second), Deliveries: 2}}
	done := state{Acked: at(20), MovedAt: noon.Add(time.Minute)}
	type change = func(state, time.Time) (state, error)
	ackWith := func(token string) change {
		return func(s state, now time.Time) (state, error) { next, _, err := s.Ack(now, token); return next, err }
	}
	nackWith := func(token string) change {
		return func(s state, now time.Time) (state, error) { return s.Nack(now, token, 5*time.Second) }
	}
	extendWith := func(token string) change {
		return func(s state, now time.Time) (state, error) { return s.Extend(now, token, time.Hour) }
	}
	released := out
	released.Lease.Token, released.Lease.Until = "", noon.Add(time.Minute+5*time.Second)
	extended := out
	extended.Lease.Until = noon.Add(time.Minute + time.Hour)
	again := back
	again.Lease = persistence.ConsumerLease{Token: old, Last: at(20), Until: noon.Add(time.Minute + lease), Deliveries: 3}

	for _, c := range []struct {
		name string
		from state
		do   change
		want state
		lost bool
	}{
		{"ack moves the position, the lease's end or not", out, ackWith(current), done, false},
		{"ack by who had the batch before", out, ackWith(old), out, true},
		{"ack by nobody", out, ackWith(""), out, true},
		{"ack by a token that was never given", out, ackWith("20-0.x"), out, true},
		{"ack of what was given back", back, ackWith(current), back, true},
		{"ack by nobody of what was given back", back, ackWith(""), back, true},
		{"ack again", done, ackWith(current), done, false},
		{"ack of what a seek took back", state{Acked: at(5)}, ackWith(current), state{Acked: at(5)}, true},
		{"nack gives back", out, nackWith(current), released, false},
		{"nack by who had the batch before", out, nackWith(old), out, true},
		{"nack twice", back, nackWith(current), back, true},
		{"nack after the ack", done, nackWith(current), done, true},
		{"extend", out, extendWith(current), extended, false},
		{"extend by who had the batch before", out, extendWith(old), out, true},
		{"extend after the ack", done, extendWith(current), done, true},
		{"lend again", back, func(s state, now time.Time) (state, error) { return s.Grant(now, old, at(20), lease) }, again, false},
		{"seek ends the lease", out, func(s state, now time.Time) (state, error) { return s.Seek(now, at(3)), nil }, state{Acked: at(3), MovedAt: noon.Add(time.Minute)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.do(c.from, noon.Add(time.Minute))
			if lost(err) != c.lost || err != nil && !c.lost {
				t.Errorf("error %v, want a lost lease: %v", err, c.lost)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if c.lost && !got.Same(c.from) {
				t.Error("a refusal changed something")
			}
		})
	}

	for _, c := range []struct {
		state state
		after time.Duration
		want  phase
		lent  bool
	}{
		{state{}, 0, idle, false},
		{out, 0, leased, true},
		{out, lease - 1, leased, true},
		{out, lease, returned, false},
		{back, 0, leased, false}, // held back after the nack
		{back, time.Second, returned, false},
		{done, 0, idle, false},
	} {
		if got := c.state.phase(noon.Add(c.after)); got != c.want || c.state.IsLeased(noon.Add(c.after)) != c.lent {
			t.Errorf("%+v after %v: phase %d, lent %v; want %d, %v", c.state, c.after, got, !c.lent, c.want, c.lent)
		}
	}
}

// What a request does next, and which batch may go out.
func TestWhichBatchIsDue(t *testing.T) {
	const lease = 30 * time.Second
	token := newToken(at(20))
	fresh := State{Acked: at(10), MovedAt: noon}
	out := State{Acked: at(10), MovedAt: noon, Lease: persistence.ConsumerLease{Token: token, Last: at(20), Until: noon.Add(lease), Deliveries: 1}}
	held := State{Acked: at(10), MovedAt: noon, Lease: persistence.ConsumerLease{Last: at(20), Until: noon.Add(lease), Deliveries: 1}}
	for name, c := range map[string]struct {
		state State
		after time.Duration
		want  Step
		due   []int // ends of batches that may go out, and after them some that may not
		not   []int
	}{
		"nothing is out":                  {fresh, 0, Step{Do: Deliver, After: at(10)}, []int{11, 20, 99}, []int{0, 9, 10}},
		"a batch is out":                  {out, 0, Step{Do: Wait, After: at(10), Until: noon.Add(lease)}, nil, []int{11, 20, 21}},
		"its lease is about to end":       {out, lease - 1, Step{Do: Wait, After: at(10), Until: noon.Add(lease)}, nil, []int{11, 20, 21}},
		"its lease has ended":             {out, lease, Step{Do: Redeliver, After: at(10), Last: at(20)}, []int{20, 15}, []int{10, 21}},
		"it is held back":                 {held, 0, Step{Do: Wait, After: at(10), Until: noon.Add(lease), Held: true}, nil, []int{20}},
		"it is no longer held back":       {held, lease, Step{Do: Redeliver, After: at(10), Last: at(20)}, []int{20}, []int{10, 21}},
		"the store's clock has gone back": {out, -59 * time.Minute, Step{Do: Wait, After: at(10), Until: noon.Add(lease)}, nil, []int{20}},
		// The worker is not waited for until the clock is there again, which may be days.
		"it has gone back further than any lease lasts": {out, -time.Hour, Step{Do: Redeliver, After: at(10), Last: at(20)}, []int{20}, []int{21}},
	} {
		now := noon.Add(c.after)
		if got := c.state.Next(now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		for _, end := range c.due {
			next, err := c.state.Grant(now, "t", at(end), lease)
			want := persistence.ConsumerLease{Token: "t", Last: at(end), Until: now.Add(lease), Deliveries: c.state.Lease.Deliveries + 1}
			if err != nil || next.Lease != want || next.Acked != c.state.Acked {
				t.Errorf("%s: the batch to %d gives %+v, %v", name, end, next, err)
			}
		}
		for _, end := range c.not {
			if next, err := c.state.Grant(now, "t", at(end), lease); !errors.Is(err, ErrNotDue) || !next.Same(c.state) {
				t.Errorf("%s: the batch to %d gives %+v, %v", name, end, next, err)
			}
		}
	}
}

func TestTokensAreToldApart(t *testing.T) {
	a, b := newToken(at(7)), newToken(at(7))
	if a == b || strings.ContainsAny(a, "\"\\ ") {
		t.Errorf("tokens %q, %q", a, b)
	}
	if end, ok := tokenEnd(a); !ok || end != at(7) {
		t.Errorf("the token's batch ends with %v, %v", end, ok)
	}
	for _, bad := range []string{"", "7-0", "7-0.", "7-0.abc", "x." + a, a + "x", "." + a} {
		if _, ok := tokenEnd(bad); ok {
			t.Errorf("%q passes for a token", bad)
		}
	}
}

func TestThePositionMovesPastWhatIsFilteredOutNowAndThen(t *testing.T) {
	s := State{MovedAt: noon}
	for _, c := range []struct {
		after time.Duration
		far   bool
		want  bool
	}{{0, false, false}, {59 * time.Second, false, false}, {0, true, true}, {time.Minute, false, true}} {
		if next, got := s.Skip(noon.Add(c.after), at(7), c.far); got != c.want || got != (next.Acked == at(7)) {
			t.Errorf("after %v, far %v: %v", c.after, c.far, got)
		}
	}
}

// The filter leaves out what lies behind the position only if nothing was acknowledged meanwhile.
func TestThePositionNeverSkipsBackwards(t *testing.T) {
	s := State{Acked: at(7), MovedAt: noon}
	for _, to := range []int{0, 6, 7} {
		if next, skipped := s.Skip(noon.Add(time.Hour), at(to), true); skipped || !next.Same(s) {
			t.Errorf("to %d: %+v", to, next)
		}
	}
}

// A batch that was read for a state is leased only if the consumer is still as it was then.
func TestWhatWasReadIsForOneStateAlone(t *testing.T) {
	seen := State{Acked: at(7), CreatedAt: noon, Definition: []byte(`{"kinds":["commit"]}`),
		Lease: persistence.ConsumerLease{Token: "t", Last: at(9), Until: noon, Deliveries: 1}}
	if !seen.Same(seen) {
		t.Error("nothing has changed")
	}
	for name, change := range map[string]func(*State){
		"the position":        func(s *State) { s.Acked = at(8) },
		"another of its name": func(s *State) { s.CreatedAt = noon.Add(1) },
		"the filter":          func(s *State) { s.Definition = []byte(`{"kinds":["sync"]}`) },
		"the token":           func(s *State) { s.Lease.Token = "u" },
		"the batch":           func(s *State) { s.Lease.Last = at(8) },
		"the lease":           func(s *State) { s.Lease.Until = noon.Add(1) },
		"the deliveries":      func(s *State) { s.Lease.Deliveries++ },
	} {
		now := seen
		if change(&now); now.Same(seen) {
			t.Errorf("%s: nothing has changed", name)
		}
	}
}

// consumerModel drives the state machine as any number of workers do. Its stream is a number: the
// newest entry.
type consumerModel struct {
	state  State
	now    time.Time
	newest int

	tokens []string // all tokens that were given
	ends   map[string]int

	dealt     []int // entries of the acknowledged batches, in order
	live      string
	liveUntil time.Time
	// last is the end of the batch that is not acknowledged, sent is how often it went out.
	last, sent int
}

// next does what a request for the next batch does, without waiting.
func (m *consumerModel) next(t *rapid.T) {
	limit := rapid.IntRange(1, 5).Draw(t, "limit")
	lease := time.Duration(rapid.IntRange(1, 60).Draw(t, "lease")) * time.Second
	before := m.state
	var end int
	switch m.state.phase(m.now) {
	case leased:
		if m.live == "" && !m.now.Before(m.liveUntil) {
			t.Fatalf("nobody has the batch and it is held back until %v, now %v", m.liveUntil, m.now)
		}
		return
	case idle:
		if m.sent != 0 {
			t.Fatal("a batch that nobody acknowledged is forgotten")
		}
		if end = min(int(m.state.Acked.MS)+limit, m.newest); end == int(m.state.Acked.MS) {
			return
		}
	case returned:
		if end = int(m.state.Lease.Last.MS); end != m.last {
			t.Fatalf("the batch that went out to %d goes out again to %d", m.last, end)
		}
	}
	if m.live != "" && m.now.Before(m.liveUntil) {
		t.Fatalf("a batch goes out while %s holds one until %v, now %v", m.live, m.liveUntil, m.now)
	}
	token := newToken(at(end))
	var err error
	if m.state, err = m.state.Grant(m.now, token, at(end), lease); err != nil {
		t.Fatalf("the batch to %d is due and not leased: %v", end, err)
	}
	m.last, m.sent = end, m.sent+1
	if m.state.Acked != before.Acked || m.state.Lease.Deliveries != m.sent {
		t.Fatalf("lending made %+v of %+v; it went out %d times", m.state, before, m.sent)
	}
	m.live, m.liveUntil = token, m.now.Add(lease)
	m.tokens = append(m.tokens, token)
	m.ends[token] = end
}

// someToken returns a token that was given, or a forged one.
func (m *consumerModel) someToken(t *rapid.T) string {
	if len(m.tokens) == 0 || rapid.IntRange(0, 9).Draw(t, "forged") == 0 {
		return rapid.SampledFrom([]string{"", "x", "0-0.x", newToken(at(1 << 20))}).Draw(t, "token")
	}
	if rapid.Bool().Draw(t, "newest") {
		return m.tokens[len(m.tokens)-1]
	}
	return rapid.SampledFrom(m.tokens).Draw(t, "token")
}

func (m *consumerModel) ack(t *rapid.T) {
	token, before := m.someToken(t), m.state
	var moved bool
	var err error
	m.state, moved, err = m.state.Ack(m.now, token)
	switch end, given := m.ends[token]; {
	case token != "" && token == m.live && m.sent > 0:
		if !moved || err != nil || m.state.Acked != at(end) {
			t.Fatalf("the holder's ack: %v, %v, %+v", moved, err, m.state)
		}
		for n := int(before.Acked.MS) + 1; n <= end; n++ {
			m.dealt = append(m.dealt, n)
		}
		m.live, m.sent = "", 0
	case given && at(end).Compare(before.Acked) <= 0:
		if moved || err != nil || !m.state.Same(before) {
			t.Fatalf("an ack of what was acknowledged: %v, %v", moved, err)
		}
	default:
		if moved || !lost(err) || !m.state.Same(before) {
			t.Fatalf("an ack by %q: %v, %v", token, moved, err)
		}
	}
}

func (m *consumerModel) nack(t *rapid.T) {
	token, before := m.someToken(t), m.state
	delay := time.Duration(rapid.IntRange(0, 5).Draw(t, "delay")) * time.Second
	var err error
	m.state, err = m.state.Nack(m.now, token, delay)
	if token != "" && token == m.live && m.sent > 0 {
		if err != nil {
			t.Fatal(err)
		}
		m.live, m.liveUntil = "", m.now.Add(delay)
		if p := m.state.phase(m.now); delay == 0 && p != returned || delay > 0 && p != leased {
			t.Fatalf("given back with a delay of %v it is in phase %v", delay, p)
		}
	} else if !lost(err) || !m.state.Same(before) {
		t.Fatalf("a nack by %q: %v", token, err)
	}
}

func (m *consumerModel) extend(t *rapid.T) {
	token, before := m.someToken(t), m.state
	lease := time.Duration(rapid.IntRange(1, 60).Draw(t, "lease")) * time.Second
	var err error
	m.state, err = m.state.Extend(m.now, token, lease)
	if token != "" && token == m.live && m.sent > 0 {
		if m.liveUntil = m.now.Add(lease); err != nil || !m.state.Lease.Until.Equal(m.liveUntil) {
			t.Fatalf("extended: %v, %+v", err, m.state)
		}
	} else if !lost(err) || !m.state.Same(before) {
		t.Fatalf("an extension by %q: %v", token, err)
	}
}

// In every order and with every delay of the workers' calls: the acknowledged entries are the
// stream from its beginning, in order, without holes or repeats; at most one batch is out; and a
// batch that is not acknowledged goes out again unchanged.
func TestI3_AConsumersBatchesFollowOneAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &consumerModel{now: noon, ends: map[string]int{}}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) { m.newest += rapid.IntRange(1, 8).Draw(t, "entries") },
			"pass": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			},
			"next":     m.next,
			"next too": m.next,
			"ack":      m.ack,
			"nack":     m.nack,
			"extend":   m.extend,
			"": func(t *rapid.T) {
				want := make([]int, len(m.dealt))
				for i := range want {
					want[i] = i + 1
				}
				if !slices.Equal(m.dealt, want) || int(m.state.Acked.MS) != len(m.dealt) {
					t.Fatalf("dealt with %v, at %v", m.dealt, m.state.Acked)
				}
			},
		})
	})
}
