package valkey

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// linkCalls is how many calls of one link may be in progress at a time. Others wait for one of them
// to end, or for the end of their own context.
const linkCalls = 128

// sentinelRefresh is how often the sentinels are asked for the primary, in addition to their
// announcements: an announcement can be missed.
const sentinelRefresh = 2 * time.Second

// link is a client that is made on first use, and again if that failed.
type link struct {
	option valkeygo.ClientOption
	calls  chan struct{}
	dialer dialer // nil for the network

	making chan struct{} // full while a client is made, which takes as long as the server does
	life   context.Context
	end    context.CancelFunc

	mu      sync.Mutex
	client  valkeygo.Client
	doubted time.Time // when it was reset last because of a doubt
	closed  bool
	sockets map[net.Conn]struct{}
}

// newLink prepares a client with connections of its own.
func (v *Store) newLink(change func(*valkeygo.ClientOption)) *link {
	l := &link{calls: make(chan struct{}, linkCalls), dialer: v.opt.Dial, making: make(chan struct{}, 1), sockets: make(map[net.Conn]struct{})}
	l.life, l.end = context.WithCancel(context.Background())
	o := valkeygo.ClientOption{
		InitAddress: v.opt.Addresses, Username: v.opt.Username, Password: v.opt.Password, SelectDB: v.opt.DB, TLSConfig: v.opt.TLS,
		ClientName: "tempestd", ForceSingleClient: v.opt.Mode == ModeStandalone,
		ConnWriteTimeout:  v.opt.CommandTimeout,
		PipelineMultiplex: -1,   // one connection: commands that are sent together arrive in order
		RingScaleEachConn: 8,    // 256 calls on their way: more than linkCalls
		DisableRetry:      true, // the caller decides about retries: it knows what they mean
		DisableCache:      true,
		DialCtxFn:         l.dial,
	}
	o.Dialer.Timeout = v.opt.ConnectTimeout
	if v.opt.SentinelMaster != "" {
		o.Sentinel = valkeygo.SentinelOption{MasterSet: v.opt.SentinelMaster, Username: v.opt.SentinelUsername, Password: v.opt.SentinelPassword,
			ClientName: "tempestd", TLSConfig: v.opt.TLS, TopologyRefreshInterval: sentinelRefresh}
		o.Sentinel.Dialer.Timeout = v.opt.ConnectTimeout
	}
	if change != nil {
		change(&o)
	}
	l.option = o
	return l
}

// dial keeps the socket, so that the link can close it. The library ends a pending read neither
// when the read's context ends nor when the client is closed.
func (l *link) dial(ctx context.Context, addr string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(l.life, stop)()
	conn, err := dial(ctx, addr, d, secure, l.dialer)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return nil, persistence.ErrStoreClosed
	}
	known := &linkedConn{Conn: conn, of: l}
	l.sockets[known] = struct{}{}
	return known, nil
}

// linkedConn is a connection that its link knows while it is open.
type linkedConn struct {
	net.Conn
	of *link
}

func (c *linkedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.sockets, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// get returns the client, which has connected at least once.
func (l *link) get() (valkeygo.Client, error) {
	l.making <- struct{}{}
	defer func() { <-l.making }()
	l.mu.Lock()
	client, closed := l.client, l.closed
	l.mu.Unlock()
	if closed {
		return nil, persistence.ErrStoreClosed
	}
	if client != nil {
		return client, nil
	}
	client, err := valkeygo.NewClient(l.option)
	if err != nil {
		if client != nil {
			client.Close() // a standalone client is returned together with its error
		}
		return nil, err
	}
	l.mu.Lock()
	if closed = l.closed; !closed {
		l.client = client
	}
	l.mu.Unlock()
	if closed {
		client.Close()
		return nil, persistence.ErrStoreClosed
	}
	return client, nil
}

// reset ends the connections; the next get makes new ones. Commands that were sent on them and not
// answered will not be answered.
func (l *link) reset() {
	client, closeSockets := l.detach()
	closeSockets() // the library waits for an answer before it closes a connection
	if client != nil {
		client.Close()
	}
}

// doubtEvery is how often a link is reset because of answers that do not fit. If they are wrong on the
// next connection as well, it is the server's data that is, and other calls of the link go on.
const doubtEvery = 10 * time.Second

// doubt resets the link after an answer that its command cannot have, unless it was reset for that a
// moment ago.
func (l *link) doubt(now time.Time) {
	l.mu.Lock()
	again := !l.doubted.IsZero() && now.Sub(l.doubted).Abs() < doubtEvery
	if !again {
		l.doubted = now
	}
	l.mu.Unlock()
	if !again {
		l.reset()
	}
}

// detach forgets the client and its connections. closeSockets closes the connections at once.
func (l *link) detach() (client valkeygo.Client, closeSockets func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	client, sockets := l.client, l.sockets
	l.client, l.sockets = nil, make(map[net.Conn]struct{})
	return client, func() {
		for conn := range sockets {
			conn.(*linkedConn).Conn.Close()
		}
	}
}

// closeGrace is how long close waits for the library to end its connections in an orderly way.
const closeGrace = 100 * time.Millisecond

// close ends the connections for good.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.end()
	client, closeSockets := l.detach()
	defer closeSockets()
	if client == nil {
		return
	}
	parted, stop := context.WithTimeout(context.Background(), closeGrace)
	go func() {
		client.Close()
		stop()
	}()
	<-parted.Done()
}

// use keeps the store open until release is called. The returned context ends after the command
// timeout.
func (v *Store) use(ctx context.Context) (context.Context, func(), error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.closed:
		return nil, nil, persistence.ErrStoreClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	v.users.Add(1)
	limited, cancel := context.WithTimeout(ctx, v.opt.CommandTimeout)
	return limited, func() { cancel(); v.users.Done() }, nil
}

// call uses the client of a link. It returns when ctx ends, when the command timeout is over or
// when the store is closed, whatever the library does. The library ends a read only at its own
// deadline, and waits for a connection that is being made without checking its context. The work
// that call leaves behind ends within the time-outs, and there are at most linkCalls such calls.
func call[T any](ctx context.Context, v *Store, l *link, do func(context.Context, valkeygo.Client) (T, error)) (answer T, err error) {
	limited, release, err := v.use(ctx)
	if err != nil {
		return answer, err
	}
	select {
	case l.calls <- struct{}{}:
	case <-limited.Done():
		release()
		return answer, v.failure(ctx, limited.Err())
	case <-v.closed:
		release()
		return answer, persistence.ErrStoreClosed
	}
	type outcome struct {
		answer T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		defer release()
		defer func() { <-l.calls }()
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				o.err = fmt.Errorf("the client library failed: %v", r)
			}
			done <- o
		}()
		client, err := l.get()
		if err != nil {
			o.err = err
			return
		}
		o.answer, o.err = do(limited, client)
	}()
	var o outcome
	select {
	case o = <-done:
	case <-v.closed:
		return answer, persistence.ErrStoreClosed
	case <-limited.Done():
		select {
		case o = <-done: // the call ended, and its context with it
		default:
			o.err = limited.Err()
		}
	}
	if o.err != nil {
		if isMisfit(o.err) {
			l.doubt(v.clock.Now())
		}
		return answer, v.failure(ctx, o.err)
	}
	return o.answer, nil
}

// do runs one command on the shared link and returns its answer, which may be nil.
func (v *Store) do(ctx context.Context, build func(valkeygo.Builder) valkeygo.Completed) (valkeygo.ValkeyMessage, error) {
	return call(ctx, v, v.commands, func(ctx context.Context, client valkeygo.Client) (valkeygo.ValkeyMessage, error) {
		return answer(client.Do(ctx, build(client.B())))
	})
}

// answer returns the server's answer; nil is an answer too.
func answer(r valkeygo.ValkeyResult) (valkeygo.ValkeyMessage, error) {
	m, err := r.ToMessage()
	if valkeygo.IsValkeyNil(err) {
		err = nil
	}
	return m, err
}

// run runs a script on the shared link and returns its answer. If the server does not know the
// script yet, run sends its source.
func (v *Store) run(ctx context.Context, s *script, keys []string, args ...string) (valkeygo.ValkeyMessage, error) {
	return call(ctx, v, v.commands, func(ctx context.Context, client valkeygo.Client) (valkeygo.ValkeyMessage, error) {
		m, err := answer(client.Do(ctx, client.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()))
		if isNoScript(err) {
			m, err = answer(client.Do(ctx, client.B().Eval().Script(s.source).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()))
		}
		return m, err
	})
}

func isNoScript(err error) bool {
	e, ok := valkeygo.IsValkeyErr(err)
	return ok && e.IsNoScript()
}
