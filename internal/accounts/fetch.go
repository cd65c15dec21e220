package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/xrpc"
)

// maxRecord bounds a record as JSON, bytes: the protocol's megabyte, with room for its escapes.
const maxRecord = 8 << 20

// Record asks for one record (com.atproto.repo.getRecord). It is nil where there is none, or where
// the account is not Active. Errors of its content are those of NewRecord.
func (c *Client) Record(ctx context.Context, did string, path Path) (*Record, Outcome, error) {
	var record *Record
	out, err := c.at(ctx, did, func(id identity.Identity) error {
		var answer listed
		query := url.Values{"repo": {did}, "collection": {path.Collection}, "rkey": {path.RKey}}
		err := c.ask(ctx, id.Server, "com.atproto.repo.getRecord", query, maxRecord, &answer)
		var refused *xrpc.Error
		if errors.As(err, &refused) && (refused.Name == "RecordNotFound" || strings.HasPrefix(strings.ToLower(refused.Message), "could not locate record")) {
			return nil
		}
		if err != nil {
			return err
		}
		if found, collection, rkey, ok := ParseURI(answer.URI); !ok || found != did || collection != path.Collection || rkey != path.RKey {
			return fmt.Errorf("%w: %.200q", ErrPath, answer.URI)
		}
		r, err := NewRecord(did, path.Collection, path.RKey, answer.CID, answer.Value)
		if err == nil {
			record = &r
		}
		return err
	})
	return record, out, err
}
