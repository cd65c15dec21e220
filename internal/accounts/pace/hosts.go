package pace

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"
)

const (
	// defaultStart is the rate that a host begins at, requests per second.
	defaultStart = 2
	// defaultMost is the highest rate: what Bluesky's servers allow, 3 000 requests in 5 min.
	defaultMost = 10
	// least is the lowest rate: one request a minute.
	least = 1.0 / 60
	// growth is what one good answer adds: from 2/s to 10/s it takes 160 of them.
	growth = 0.05
	// parallel is how many requests a host has at a time.
	parallel = 2
	// maxHosts bounds how many hosts are remembered.
	maxHosts = 10_000
)

// Wait is a host that said when to come again.
type Wait struct {
	Host   string
	Until  time.Time
	Status int // of the response that said so
}

// Options are of Hosts.
type Options struct {
	Clock clockwork.Clock
	// Start and Most are the first and the highest rate of a host, requests per second; 0 for 2 and
	// 10.
	Start, Most float64
	// Told is called when a wait begins or becomes longer. It may be nil, and must not block.
	Told func(Wait)
}

// Hosts gives turns at hosts. It is safe for concurrent use.
type Hosts struct {
	opt   Options
	mu    sync.Mutex
	hosts map[string]*host
}

type host struct {
	slots   chan struct{}
	limiter *rate.Limiter
	users   int // turns that were asked for and did not end
	wait    Wait
}

// New returns Hosts without any host.
func New(opt Options) *Hosts {
	opt.Start = cmp.Or(opt.Start, defaultStart)
	opt.Most = max(cmp.Or(opt.Most, defaultMost), opt.Start)
	return &Hosts{opt: opt, hosts: map[string]*host{}}
}

// Turn is one request at a host. Its End must be called, once.
type Turn struct {
	pace *Hosts
	host *host
}

// Begin waits for a turn at a host. It returns an error only when ctx ends.
func (p *Hosts) Begin(ctx context.Context, name string) (*Turn, error) {
	h := p.enter(name)
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		p.leave(h)
		return nil, ctx.Err()
	}
	turn := &Turn{p, h}
	err := p.sleep(ctx, h.limiter.ReserveN(p.opt.Clock.Now(), 1).DelayFrom)
	for err == nil { // a wait may become longer while it lasts
		until := p.until(h)
		if !until.After(p.opt.Clock.Now()) {
			return turn, nil
		}
		err = watched(ctx, Wait{Host: name, Until: until}, func() error { return p.sleep(ctx, until.Sub) })
	}
	turn.release()
	return nil, err
}

// sleep waits as long as left says at this moment.
func (p *Hosts) sleep(ctx context.Context, left func(now time.Time) time.Duration) error {
	d := left(p.opt.Clock.Now())
	if d <= 0 {
		return ctx.Err()
	}
	timer := p.opt.Clock.NewTimer(d)
	defer timer.Stop()
	if left(p.opt.Clock.Now()) <= 0 { // the clock went on before the timer was set
		return ctx.Err()
	}
	select {
	case <-timer.Chan():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// End says how the request ended: with the status and the headers of the response, or with status 0
// without one.
func (t *Turn) End(status int, header http.Header) {
	p, h := t.pace, t.host
	now := p.opt.Clock.Now()
	until, says := again(status, header, now)
	p.mu.Lock()
	switch limit := float64(h.limiter.Limit()); {
	case status == 0 || status == http.StatusTooManyRequests || status >= 500:
		h.limiter.SetLimitAt(now, rate.Limit(max(limit/2, least)))
	case limit < p.opt.Most:
		h.limiter.SetLimitAt(now, rate.Limit(min(limit+growth, p.opt.Most)))
	}
	longer := says && until.After(now) && until.After(h.wait.Until)
	if longer {
		h.wait.Until, h.wait.Status = until, status
	}
	wait := h.wait
	p.mu.Unlock()
	t.release()
	if longer && p.opt.Told != nil {
		p.opt.Told(wait)
	}
}

// Rate is the rate of a host at this moment, requests per second.
func (p *Hosts) Rate(name string) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hosts[name]; h != nil {
		return float64(h.limiter.Limit())
	}
	return p.opt.Start
}

// Waiting lists the hosts that said when to come again, and whose time is not there yet: the
// longest wait last.
func (p *Hosts) Waiting() []Wait {
	now := p.opt.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Wait
	for _, h := range p.hosts {
		if h.wait.Until.After(now) {
			all = append(all, h.wait)
		}
	}
	slices.SortFunc(all, func(a, b Wait) int { return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Host, b.Host)) })
	return all
}

func (p *Hosts) until(h *host) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return h.wait.Until
}

func (p *Hosts) enter(name string) *host {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[name]
	if h == nil {
		if len(p.hosts) >= maxHosts {
			p.forget()
		}
		h = &host{slots: make(chan struct{}, parallel), limiter: rate.NewLimiter(rate.Limit(p.opt.Start), 1), wait: Wait{Host: name}}
		p.hosts[name] = h
	}
	h.users++
	return h
}

// forget drops hosts that nobody uses: those that are not waited for, and if there is none, all.
func (p *Hosts) forget() {
	now, before := p.opt.Clock.Now(), len(p.hosts)
	for name, h := range p.hosts {
		if h.users == 0 && !h.wait.Until.After(now) {
			delete(p.hosts, name)
		}
	}
	if len(p.hosts) < before {
		return
	}
	for name, h := range p.hosts {
		if h.users == 0 {
			delete(p.hosts, name)
		}
	}
}

func (p *Hosts) leave(h *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.users--
}

func (t *Turn) release() {
	<-t.host.slots
	t.pace.leave(t.host)
}
