package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/jetstream"
)

// expiresSoon is how long before its end a certificate is a warning.
const expiresSoon = 7 * 24 * time.Hour

// subscription is one way in which feeds use an endpoint.
type subscription struct {
	endpoint jetstream.Endpoint
	feed     *config.Feed // the first that uses it so
}

// subscriptions returns each different way to ask each endpoint, in the order of the feeds.
func subscriptions(cfg *config.Config) (all []subscription) {
	for i := range cfg.Feeds {
		f := &cfg.Feeds[i]
		for _, e := range f.Endpoints {
			same := func(s subscription) bool {
				return s.endpoint == e.Endpoint && s.feed.Protocol == f.Protocol && s.feed.Compress == f.Compress
			}
			if !slices.ContainsFunc(all, same) {
				all = append(all, subscription{e.Endpoint, f})
			}
		}
	}
	return all
}

// upstreams looks at every server once, and at every way in which it is asked.
func (x *examination) upstreams(ctx context.Context) {
	reached := map[string]bool{}
	for _, s := range subscriptions(x.cfg) {
		host := s.endpoint.Host()
		ok, seen := reached[host]
		if !seen {
			ok = x.server(ctx, s.endpoint)
			reached[host] = ok
		}
		if ok {
			x.handshake(ctx, s)
		}
	}
}

// server resolves the name of a server and, over TLS, looks at its certificate. It returns false if
// it makes no sense to go on.
func (x *examination) server(ctx context.Context, e jetstream.Endpoint) bool {
	ctx, cancel := context.WithTimeout(ctx, x.Timeout)
	defer cancel()
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: map[bool]string{true: "https", false: "http"}[e.Secure()], Host: e.Host()}}); proxy != nil || err != nil {
		x.tell("dns", e.Host(), OK, "not looked up here: it is reached through a proxy of the environment")
		return true
	}
	name, _, _ := net.SplitHostPort(e.Host())
	began := x.Clock.Now()
	addresses, err := x.resolve(ctx, name)
	if err != nil {
		x.tell("dns", name, Failure, "%s", explainDNS(err))
		return false
	}
	x.tell("dns", name, OK, "%s, in %v", strings.Join(addresses[:min(len(addresses), 4)], ", "), took(x.Clock.Since(began)))
	if !e.Secure() {
		return true
	}
	began = x.Clock.Now()
	settings := &tls.Config{}
	if x.TLS != nil {
		settings = x.TLS.Clone()
	}
	if settings.ServerName == "" {
		settings.ServerName = name
	}
	conn, err := (&tls.Dialer{Config: settings}).DialContext(ctx, "tcp", e.Host())
	if err != nil {
		x.tell("tls", e.Host(), Failure, "%s", explainTLS(err))
		return false
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	ends := state.PeerCertificates[0].NotAfter
	level, left := OK, ends.Sub(x.Clock.Now())
	if left < expiresSoon {
		level = Warning
	}
	x.tell("tls", e.Host(), level, "%s, certificate valid until %s, in %v", tls.VersionName(state.Version), ends.UTC().Format(time.DateOnly), took(x.Clock.Since(began)))
	return true
}

func (x *examination) resolve(ctx context.Context, name string) ([]string, error) {
	if x.Resolve != nil {
		return x.Resolve(ctx, name)
	}
	return net.DefaultResolver.LookupHost(ctx, name)
}

// handshake subscribes as the feed would, at the live tip, and ends the connection.
func (x *examination) handshake(ctx context.Context, s subscription) {
	ctx, cancel := context.WithTimeout(ctx, x.Timeout)
	defer cancel()
	began, asked := x.Clock.Now(), time.Time{}
	opt := jetstream.DialOptions{Clock: x.Clock, UserAgent: x.UserAgent, TLS: x.TLS, MaxMessageSize: s.feed.MaxMessageSize, Negotiator: jetstream.NewNegotiator("", x.Clock),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			asked = x.Clock.Now() // each attempt makes its own connection
			return c, err
		}}
	conn, err := jetstream.Dial(ctx, jetstream.Request{Endpoint: s.endpoint, Filter: jetstream.Filter{Kinds: s.feed.Kinds, Collections: s.feed.Collections, DIDs: s.feed.DIDs},
		Protocol: s.feed.Protocol, Compress: s.feed.Compress}, opt)
	answered := x.Clock.Now()
	if err != nil {
		x.tell("handshake", s.endpoint.String(), Failure, "feed %s: %v", s.feed.Name, err)
		return
	}
	defer conn.CloseNow()
	wire := conn.Wire()
	detail := fmt.Sprintf("%s, compression %s, in %v", wire.Protocol, wire.Compression, took(answered.Sub(began)))
	if wire.Fallback != "" {
		detail += "; " + wire.Fallback
	}
	x.tell("handshake", s.endpoint.String(), OK, "%s", detail)
	date, ok := conn.ServerDate()
	switch off := Offset(date, asked, answered); {
	case !ok:
		x.tell("clock", s.endpoint.Host(), Warning, "the server does not tell its time")
	case off > tolerated:
		x.tell("clock", s.endpoint.Host(), Warning, "the server's clock is %v ahead of ours, or ours is behind", off.Round(100*time.Millisecond))
	case off < -tolerated:
		x.tell("clock", s.endpoint.Host(), Warning, "the server's clock is %v behind ours, or ours is ahead", -off.Round(100*time.Millisecond))
	default:
		x.tell("clock", s.endpoint.Host(), OK, "as the server's, within what a Date and a round trip of %v can tell", took(answered.Sub(asked)))
	}
}

func took(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// explainDNS says why a name has no address.
func explainDNS(err error) string {
	e, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && e.IsNotFound:
		return "there is no such name: is it spelled right?"
	case ok && e.IsTimeout:
		return "the name servers do not answer: see /etc/resolv.conf"
	case ok:
		return e.Err
	}
	return err.Error()
}

// explainTLS says why there is no TLS connection.
func explainTLS(err error) string {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return err.Error() + ": is this machine's clock right?"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return err.Error() + ": are the system's certificates installed (ca-certificates)?"
	}
	return err.Error()
}
