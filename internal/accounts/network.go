package accounts

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/accounts/xrpc"
)

// NetworkOptions are of a Network.
type NetworkOptions struct {
	Clock     clockwork.Clock
	UserAgent string // product and contact
	// Dir is where repositories are put while they are read, "" for the system's folder.
	Dir string
	// The rest is for tests; the zero values are right for the public network.
	Policy guard.Policy
	PLC    string
	TXT    func(ctx context.Context, name string) ([]string, error)
	Origin func(host string) string
	// Start is the first rate of a host, requests per second; 0 for that of package pace.
	Start float64
	// Timeout is for a request; 0 for that of package xrpc.
	Timeout time.Duration
}

// Network is a Client with all that it needs. It is safe for concurrent use.
type Network struct {
	*Client
	Calls     *xrpc.Client
	Directory *identity.Directory
	Pace      *pace.Hosts

	http *http.Client
}

// NewNetwork returns a Network. It calls nobody yet, and is to be closed.
func NewNetwork(opt NetworkOptions) *Network {
	n := &Network{http: guard.New(opt.Policy), Pace: pace.New(pace.Options{Clock: opt.Clock, Start: opt.Start})}
	n.Calls = xrpc.New(xrpc.Options{HTTP: n.http, Pace: n.Pace, Clock: opt.Clock, UserAgent: cmp.Or(opt.UserAgent, "tempestd"), Timeout: opt.Timeout})
	if opt.TXT == nil {
		opt.TXT = net.DefaultResolver.LookupTXT
	}
	n.Directory = identity.New(identity.Options{Calls: n.Calls, Clock: opt.Clock, PLC: opt.PLC, TXT: opt.TXT, Origin: opt.Origin})
	n.Client = New(Options{Calls: n.Calls, Directory: n.Directory, Dir: opt.Dir})
	return n
}

// Close ends the connections that nobody uses.
func (n *Network) Close() { n.http.CloseIdleConnections() }
