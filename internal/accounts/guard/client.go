package guard

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// ErrForbidden is the kind of every error about a host, an address or a URL that is not called.
var ErrForbidden = errors.New("not called")

const (
	maxRedirects = 3
	// maxHeader bounds the headers of a response, bytes.
	maxHeader   = 64 << 10
	dialTimeout = 10 * time.Second
	// headTimeout is how long a server may take until its response begins.
	headTimeout = 60 * time.Second
	idleTimeout = 30 * time.Second
)

// Policy says what may be called. The zero Policy is the one for strangers' hosts.
type Policy struct {
	// Local reports whether an address that is not public may be called all the same. With a Local,
	// http and other ports than 443 are called too. It is for tests, and for servers of one's own.
	Local func(netip.AddrPort) bool
}

// New returns a client that keeps to the policy. It follows at most three redirects. Bodies have no
// limit, and requests no timeout but the one until the response begins: their callers know both.
// Its Transport is to be closed with CloseIdleConnections.
func New(policy Policy) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error { return policy.address(address) }}
	return &http.Client{
		Transport: &transport{policy: policy, next: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  headTimeout,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConns:           64,
			MaxIdleConnsPerHost:    2,
			MaxResponseHeaderBytes: maxHeader,
		}},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("%w: more than %d redirects", ErrForbidden, maxRedirects)
			}
			return nil
		},
	}
}

// address checks what is dialled, "ip:port".
func (p Policy) address(text string) error {
	a, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %.100q is no address", ErrForbidden, text)
	case public(a.Addr()), p.Local != nil && p.Local(a):
		return nil
	}
	return fmt.Errorf("%w: %v is not a public address", ErrForbidden, a.Addr())
}

// CheckURL returns an error, ErrForbidden, for a URL that is not called whatever its host resolves
// to.
func (p Policy) CheckURL(u *url.URL) error {
	switch port := u.Port(); {
	case u.Scheme != "https" && (p.Local == nil || u.Scheme != "http"):
		return fmt.Errorf("%w: the scheme %.20q, want https", ErrForbidden, u.Scheme)
	case u.Hostname() == "" || u.User != nil || u.Opaque != "":
		return fmt.Errorf("%w: a URL without a plain host", ErrForbidden)
	case port != "" && port != "443" && p.Local == nil:
		return fmt.Errorf("%w: port %.10q, want 443", ErrForbidden, port)
	}
	return nil
}

// transport checks each request, the ones of redirects among them.
type transport struct {
	policy Policy
	next   *http.Transport
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.policy.CheckURL(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	return t.next.RoundTrip(r)
}

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (t *transport) CloseIdleConnections() { t.next.CloseIdleConnections() }
