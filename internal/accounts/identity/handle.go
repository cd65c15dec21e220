package identity

import (
	"context"
	"fmt"
	"strings"

	"tempestd/internal/accounts/xrpc"
)

// maxHandleFile bounds the file that names a handle's DID, bytes.
const maxHandleFile = 2 << 10

// Resolve returns the identity that a handle leads to, or the identity of a DID. A handle whose
// account does not name it back leads nowhere. The errors are ErrHandle, beside those of Lookup.
func (d *Directory) Resolve(ctx context.Context, identifier string) (Identity, error) {
	if strings.HasPrefix(identifier, "did:") {
		return d.Lookup(ctx, identifier)
	}
	handle := strings.ToLower(strings.TrimPrefix(identifier, "@"))
	if !isHost(handle) {
		return Identity{}, fmt.Errorf("%.80q: %w: it is no name of a host", identifier, ErrHandle)
	}
	did, err := d.leads(ctx, handle)
	if err != nil {
		return Identity{}, err
	}
	id, err := d.Lookup(ctx, did)
	if err == nil && id.Handle != handle {
		id, err = d.Refresh(ctx, did) // the handle may be newer than the document
	}
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("%s: %w", handle, err)
	case id.Handle != handle:
		return Identity{}, fmt.Errorf("%s: %w: it leads to %s, which has the handle %q", handle, ErrHandle, did, id.Handle)
	}
	return id, nil
}

// leads is the DID that a handle claims: by DNS, or else by a file on its host.
func (d *Directory) leads(ctx context.Context, handle string) (string, error) {
	records, dnsErr := d.opt.TXT(ctx, "_atproto."+handle)
	var found []string
	for _, r := range records {
		if did, ok := strings.CutPrefix(strings.TrimSpace(r), "did="); ok && CheckDID(did) == nil {
			found = append(found, did)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%s: %w: DNS names %d DIDs", handle, ErrHandle, len(found))
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	body, err := d.opt.Calls.Do(ctx, xrpc.Request{URL: d.opt.Origin(handle) + "/.well-known/atproto-did", Limit: maxHandleFile})
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if dnsErr != nil {
			return "", fmt.Errorf("%s: %w: by DNS %w, and by its host %w", handle, ErrHandle, dnsErr, err)
		}
		return "", fmt.Errorf("%s: %w: there is no text record for it, and by its host %w", handle, ErrHandle, err)
	}
	did := strings.TrimSpace(string(body))
	if err := CheckDID(did); err != nil {
		return "", fmt.Errorf("%s: %w: its host answers %w", handle, ErrHandle, err)
	}
	return did, nil
}
