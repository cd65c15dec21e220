package accounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/repo"
)

// repositoryTimeout is for a whole download.
const repositoryTimeout = 300 * time.Second

// Download is what became of reading a repository.
type Download struct {
	Outcome
	Rev              string // of the commit, "" unless the account is active
	Bytes            int64
	Blocks           int
	Records, Skipped int // that are wanted
}

// Repository reads a whole repository and gives the records of the wanted collections to yield, in
// the order of their paths (com.atproto.sync.getRepo). wanted is told of each path that there is,
// and says whether its record is wanted; it is nil for all. Nothing is given
// before the repository is there as a whole and its signature is verified. An error of yield ends
// it and is returned as it is; what is wrong with the repository is repo.ErrCorrupt,
// signing.ErrSignature, ErrBound or ErrAnswer.
//
// What has changed since a revision can be asked for too, but servers differ in which blocks that
// has, so that a tree of them cannot be walked: a repository is always read as a whole.
func (c *Client) Repository(ctx context.Context, did string, wanted func(Path) bool, yield func(Record) error) (Download, error) {
	var d Download
	var got *blocks
	var commit repo.Commit
	out, err := c.at(ctx, did, func(id identity.Identity) error {
		if got != nil {
			got.close()
		}
		var err error
		if got, err = newBlocks(c.opt.Dir); err != nil {
			return err
		}
		if commit, err = c.download(ctx, id, got); err != nil {
			return fmt.Errorf("%s: %w", did, err)
		}
		return nil
	})
	if got != nil {
		defer got.close()
		d.Bytes, d.Blocks = got.size, len(got.places)
	}
	if d.Outcome = out; err != nil || out.State != Active {
		return d, err
	}
	d.Rev = commit.Rev
	return d, c.records(got, commit, wanted, &d, yield)
}

// download reads a repository into blocks and verifies who has signed it.
func (c *Client) download(ctx context.Context, id identity.Identity, into *blocks) (repo.Commit, error) {
	var root dagcbor.CID
	r := xrpc.Request{URL: xrpc.URL(id.Server, "com.atproto.sync.getRepo", url.Values{"did": {id.DID}}),
		Limit: c.opt.MaxRepository, Timeout: repositoryTimeout}
	err := c.opt.Calls.Read(ctx, r, func(body io.Reader) error {
		car, err := repo.NewReader(body)
		if err != nil {
			return err
		}
		root = car.Root()
		for {
			cid, data, err := car.Next()
			if err == io.EOF {
				return into.done()
			}
			if err != nil {
				return err
			}
			if err := into.add(cid, data); err != nil {
				return err
			}
		}
	})
	if errors.Is(err, xrpc.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrBound, err)
	}
	if err != nil {
		return repo.Commit{}, err
	}
	block, err := into.get(root)
	if err != nil {
		return repo.Commit{}, err
	}
	commit, err := repo.ParseCommit(block)
	if err != nil {
		return repo.Commit{}, err
	}
	if commit.DID != id.DID {
		return repo.Commit{}, fmt.Errorf("%w: the repository of %.80q", ErrAnswer, commit.DID)
	}
	if err := checkRev(commit.Rev); err != nil {
		return repo.Commit{}, err
	}
	return commit, id.Key.Verify(commit.Signed, commit.Sig)
}

// records walks the tree of a repository.
func (c *Client) records(from *blocks, commit repo.Commit, wanted func(Path) bool, d *Download, yield func(Record) error) error {
	var encoder dagcbor.Encoder
	return repo.Walk(commit.Data, from.get, func(key []byte, cid dagcbor.CID) error {
		collection, rkey, _ := strings.Cut(string(key), "/")
		if wanted != nil && !wanted(Path{collection, rkey}) {
			return nil
		}
		block, err := from.get(cid)
		if err != nil {
			return err
		}
		r := Record{DID: commit.DID, Collection: collection, RKey: rkey, CID: cid, Rev: commit.Rev}
		if r.JSON, err = encoder.AppendJSON(nil, block); err == nil && r.JSON[0] != '{' {
			err = fmt.Errorf("%w: a record that is no object", dagcbor.ErrOutsideModel)
		}
		if err != nil {
			d.Skipped++
			c.opt.Skipped(Skipped{commit.DID, collection, rkey, err})
			return nil
		}
		d.Records++
		return yield(r)
	})
}
