package serve

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/persistence"
)

func at(n int) persistence.EntryID { return persistence.EntryID{MS: uint64(n)} }

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// lost reports whether the error says that the lease is lost.
func lost(err error) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && api.status == http.StatusConflict && api.name == nameLeaseLost
}

func TestConsumerStateMachine(t *testing.T) {
	const lease = 30 * time.Second
	old, current := newToken(at(20)), newToken(at(20))
	type state = persistence.ConsumerState
	out := state{Acked: at(10), MovedAt: noon, Lease: persistence.ConsumerLease{Token: current, Last: at(20), Until: noon.Add(lease), Deliveries: 2}}
	back := state{Acked: at(10), MovedAt: noon, Lease: persistence.ConsumerLease{Last: at(20), Until: noon.Add(time.Second), Deliveries: 2}}
	done := state{Acked: at(20), MovedAt: noon.Add(time.Minute)}
	ackWith := func(token string) func(*state, time.Time) error {
		return func(s *state, now time.Time) error { _, err := ack(s, now, token); return err }
	}
	nackWith := func(token string) func(*state, time.Time) error {
		return func(s *state, now time.Time) error { return nack(s, now, token, 5*time.Second) }
	}
	extendWith := func(token string) func(*state, time.Time) error {
		return func(s *state, now time.Time) error { return extend(s, now, token, time.Hour) }
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
		do   func(*state, time.Time) error
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
		{"lend again", back, func(s *state, now time.Time) error { lend(s, now, old, at(20), lease); return nil }, again, false},
		{"seek ends the lease", out, func(s *state, now time.Time) error { move(s, now, at(3)); return nil }, state{Acked: at(3), MovedAt: noon.Add(time.Minute)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.from
			if err := c.do(&got, noon.Add(time.Minute)); lost(err) != c.lost || err != nil && !c.lost {
				t.Errorf("error %v, want a lost lease: %v", err, c.lost)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if c.lost && !unchanged(&got, &c.from) {
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
		if got := phaseOf(&c.state, noon.Add(c.after)); got != c.want || isLent(&c.state, noon.Add(c.after)) != c.lent {
			t.Errorf("%+v after %v: phase %d, lent %v; want %d, %v", c.state, c.after, got, !c.lent, c.want, c.lent)
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
	s := persistence.ConsumerState{MovedAt: noon}
	for _, c := range []struct {
		after time.Duration
		far   bool
		want  bool
	}{{0, false, false}, {59 * time.Second, false, false}, {0, true, true}, {time.Minute, false, true}} {
		if got := worthSkipping(&s, noon.Add(c.after), c.far); got != c.want {
			t.Errorf("after %v, far %v: %v", c.after, c.far, got)
		}
	}
}

// consumerModel drives the state machine as any number of workers do. Its stream is a number: the
// newest entry.
type consumerModel struct {
	state  persistence.ConsumerState
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
	switch phaseOf(&m.state, m.now) {
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
	lend(&m.state, m.now, token, at(end), lease)
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
	moved, err := ack(&m.state, m.now, token)
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
		if moved || err != nil || !unchanged(&m.state, &before) {
			t.Fatalf("an ack of what was acknowledged: %v, %v", moved, err)
		}
	default:
		if moved || !lost(err) || !unchanged(&m.state, &before) {
			t.Fatalf("an ack by %q: %v, %v", token, moved, err)
		}
	}
}

func (m *consumerModel) nack(t *rapid.T) {
	token, before := m.someToken(t), m.state
	delay := time.Duration(rapid.IntRange(0, 5).Draw(t, "delay")) * time.Second
	err := nack(&m.state, m.now, token, delay)
	if token != "" && token == m.live && m.sent > 0 {
		if err != nil {
			t.Fatal(err)
		}
		m.live, m.liveUntil = "", m.now.Add(delay)
		if p := phaseOf(&m.state, m.now); delay == 0 && p != returned || delay > 0 && p != leased {
			t.Fatalf("given back with a delay of %v it is in phase %v", delay, p)
		}
	} else if !lost(err) || !unchanged(&m.state, &before) {
		t.Fatalf("a nack by %q: %v", token, err)
	}
}

func (m *consumerModel) extend(t *rapid.T) {
	token, before := m.someToken(t), m.state
	lease := time.Duration(rapid.IntRange(1, 60).Draw(t, "lease")) * time.Second
	err := extend(&m.state, m.now, token, lease)
	if token != "" && token == m.live && m.sent > 0 {
		if m.liveUntil = m.now.Add(lease); err != nil || !m.state.Lease.Until.Equal(m.liveUntil) {
			t.Fatalf("extended: %v, %+v", err, m.state)
		}
	} else if !lost(err) || !unchanged(&m.state, &before) {
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
