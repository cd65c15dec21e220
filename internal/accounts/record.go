package accounts

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"tempestd/internal/archive/dagcbor"
)

// Record is a record as a repository holds it now.
type Record struct {
	DID, Collection, RKey string
	CID                   dagcbor.CID
	JSON                  []byte // in the form that Jetstream servers send
	// Rev is the revision of the repository that the record was read from, "" where there is none.
	Rev string
	// Indexed is when an app view first saw the record; zero from an account's server.
	Indexed time.Time
}

// Skipped is a record that a server gave and that is left out.
type Skipped struct {
	DID, Collection, RKey string
	Why                   error // ErrCID, ErrPath or of package dagcbor
}

// maxURI bounds the URI of a record, bytes: a DID of 261, an NSID of 317 and a key of 512.
const maxURI = len("at://") + 261 + 1 + 317 + 1 + 512

var recordKey = regexp.MustCompile(`^[A-Za-z0-9._:~-]{1,512}$`)

// ParseURI splits the URI of a record, "at://did/collection/rkey". Whether did and collection are
// such is for the caller to compare.
func ParseURI(uri string) (did, collection, rkey string, ok bool) {
	rest, ok := strings.CutPrefix(uri, "at://")
	if !ok || len(uri) > maxURI {
		return "", "", "", false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || !recordKey.MatchString(parts[2]) || parts[2] == "." || parts[2] == ".." {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// NewRecord makes the Record of JSON that a server gave with a CID. It computes the CID from the
// content: the errors are ErrCID and those of package dagcbor.
func NewRecord(did, collection, rkey, cid string, value []byte) (Record, error) {
	v, err := dagcbor.FromJSON(value)
	if err != nil {
		return Record{}, err
	}
	if _, ok := v.(map[string]any); !ok {
		return Record{}, fmt.Errorf("%w: a record that is no object", dagcbor.ErrOutsideModel)
	}
	block, err := dagcbor.Append(nil, v)
	if err != nil {
		return Record{}, err
	}
	r := Record{DID: did, Collection: collection, RKey: rkey, CID: dagcbor.Sum(dagcbor.CodecDAGCBOR, block)}
	if r.CID.String() != cid {
		return Record{}, fmt.Errorf("%w: %.80q is given, %v is computed", ErrCID, cid, r.CID)
	}
	r.JSON, err = new(dagcbor.Encoder).AppendJSON(nil, block)
	return r, err
}
