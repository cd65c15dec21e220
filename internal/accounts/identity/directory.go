package identity

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts/xrpc"
)

const (
	// DefaultPLC is the directory of did:plc.
	DefaultPLC = "https://plc.directory"
	// lifetime is how long a document is good.
	lifetime = 24 * time.Hour
	// defaultMost is how many documents are kept, of about 500 bytes each.
	defaultMost = 20_000
	// maxDocument bounds a document, bytes.
	maxDocument = 64 << 10
)

// Options are of a Directory.
type Options struct {
	Calls *xrpc.Client
	Clock clockwork.Clock
	// PLC is the origin of the directory of did:plc; "" for DefaultPLC.
	PLC string
	// Most is how many documents are kept; 0 for 20 000.
	Most int
	// TXT looks up text records: net.Resolver.LookupTXT.
	TXT func(ctx context.Context, name string) ([]string, error)
	// Origin is the origin of the host that a did:web or a handle names; nil for https at that
	// host. It is for tests.
	Origin func(host string) string
}

// Directory looks identities up. It is safe for concurrent use.
type Directory struct {
	opt Options

	mu    sync.Mutex
	byDID map[string]*list.Element // of Identity
	used  *list.List               // the one used last is first
}

// New returns a Directory that keeps no document yet.
func New(opt Options) *Directory {
	opt.PLC, opt.Most = cmp.Or(opt.PLC, DefaultPLC), cmp.Or(opt.Most, defaultMost)
	if opt.Origin == nil {
		opt.Origin = func(host string) string { return "https://" + host }
	}
	return &Directory{opt: opt, byDID: map[string]*list.Element{}, used: list.New()}
}

// Lookup returns the identity of a DID, from a document that is at most a day old. The errors are
// ErrDID, ErrNotFound, ErrTombstoned, ErrDocument and those of xrpc.Client.Do.
func (d *Directory) Lookup(ctx context.Context, did string) (Identity, error) {
	if id, ok := d.kept(did); ok {
		return id, nil
	}
	return d.Refresh(ctx, did)
}

// Refresh is Lookup with a new document. When the DID turns out to be unknown or tombstoned, the
// document that was kept is dropped.
func (d *Directory) Refresh(ctx context.Context, did string) (Identity, error) {
	if err := CheckDID(did); err != nil {
		return Identity{}, err
	}
	url := d.opt.PLC + "/" + did
	if name, ok := strings.CutPrefix(did, didWeb); ok {
		url = d.opt.Origin(name) + "/.well-known/did.json"
	}
	document, err := d.opt.Calls.Do(ctx, xrpc.Request{URL: url, Limit: maxDocument})
	if err != nil {
		var refused *xrpc.Error
		switch {
		case !errors.As(err, &refused):
		case refused.Status == http.StatusNotFound:
			err = fmt.Errorf("%s: %w", did, ErrNotFound)
			d.Drop(did)
		case refused.Status == http.StatusGone:
			err = fmt.Errorf("%s: %w", did, ErrTombstoned)
			d.Drop(did)
		}
		return Identity{}, err
	}
	id, err := Parse(did, document)
	if err != nil {
		return Identity{}, err
	}
	id.Fetched = d.opt.Clock.Now()
	d.keep(id)
	return id, nil
}

// Drop forgets the document of a DID: the network says that it has changed.
func (d *Directory) Drop(did string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.byDID[did]; e != nil {
		d.used.Remove(e)
		delete(d.byDID, did)
	}
}

func (d *Directory) kept(did string) (Identity, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.byDID[did]
	if e == nil {
		return Identity{}, false
	}
	id := e.Value.(Identity)
	if d.opt.Clock.Since(id.Fetched) >= lifetime {
		return Identity{}, false
	}
	d.used.MoveToFront(e)
	return id, true
}

func (d *Directory) keep(id Identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.byDID[id.DID]; e != nil {
		e.Value = id
		d.used.MoveToFront(e)
		return
	}
	d.byDID[id.DID] = d.used.PushFront(id)
	if d.used.Len() > d.opt.Most {
		delete(d.byDID, d.used.Remove(d.used.Back()).(Identity).DID)
	}
}
