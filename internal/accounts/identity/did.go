package identity

import (
	"fmt"
	"regexp"
	"strings"

	"tempestd/internal/atproto"
)

// maxDID bounds a DID, bytes. The network's longest are did:web with a long host.
const maxDID = 261

var host = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

const didWeb = "did:web:"

// CheckDID returns an error, ErrDID, unless the text is a did:plc, or the did:web of a host.
func CheckDID(did string) error {
	name, web := strings.CutPrefix(did, didWeb)
	if len(did) > maxDID || !atproto.IsNetworkDID(did) || web && !isHost(name) {
		return fmt.Errorf("%.80q: %w", did, ErrDID)
	}
	return nil
}

// isHost tells a name of DNS with a dot in it, in lower case, which is also what a handle is.
func isHost(s string) bool { return len(s) <= 253 && host.MatchString(s) }
