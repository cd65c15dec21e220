package identity

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"tempestd/internal/accounts/signing"
)

// Identity is what an account's document says.
type Identity struct {
	DID string
	// Handle is the first one that the document names, "" for none. That the handle leads to this
	// account is checked by Directory.Resolve alone.
	Handle string
	// Server is the origin of the account's server, "https://pds.example", "" for none.
	Server string
	// Key is what the account signs with, a zero Key where the document has none that can be read.
	Key signing.Key
	// Fetched is when the document came.
	Fetched time.Time
}

// Parse reads the document of a DID. A part that the document has none of, or one that cannot be
// used, is left empty.
func Parse(did string, document []byte) (Identity, error) {
	var doc struct {
		ID                 string
		AlsoKnownAs        []string
		VerificationMethod []struct{ ID, Type, PublicKeyMultibase string }
		Service            []struct {
			ID, Type        string
			ServiceEndpoint json.RawMessage // of other services it is not always a text
		}
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return Identity{}, fmt.Errorf("%s: %w: %w", did, ErrDocument, err)
	}
	if doc.ID != did {
		return Identity{}, fmt.Errorf("%s: %w: it is the one of %.80q", did, ErrDocument, doc.ID)
	}
	id := Identity{DID: did}
	for _, name := range doc.AlsoKnownAs {
		if handle, ok := strings.CutPrefix(name, "at://"); ok && isHost(strings.ToLower(handle)) {
			id.Handle = strings.ToLower(handle)
			break
		}
	}
	for _, m := range doc.VerificationMethod {
		if m.Type == "Multikey" && isPart(m.ID, did, "#atproto") {
			id.Key, _ = signing.ParseMultikey(m.PublicKeyMultibase)
			break
		}
	}
	for _, s := range doc.Service {
		if s.Type == "AtprotoPersonalDataServer" && isPart(s.ID, did, "#atproto_pds") {
			var text string
			if json.Unmarshal(s.ServiceEndpoint, &text) == nil {
				id.Server = origin(text)
			}
			break
		}
	}
	return id, nil
}

// isPart tells the id of a part of the document, which may be written with the DID or without.
func isPart(id, did, part string) bool { return id == part || id == did+part }

// maxOrigin bounds the URL of a server, bytes.
const maxOrigin = 300

// origin is the origin of a server's URL, "" when the URL is more or less than that.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxOrigin || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}
