package identity_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/atsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const document = `{
	"@context": ["https://www.w3.org/ns/did/v1"], "id": "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "alsoKnownAs": ["https://x", "at://Atproto.com"],
	"verificationMethod": [{"id": "did:plc:ewvi7nxzyoun6zhxrhs64oiz#other", "type": "Multikey", "publicKeyMultibase": "z1"},
		{"id": "did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto", "type": "Multikey", "controller": "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "publicKeyMultibase": "zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w"}],
	"service": [{"id": "#labeler", "type": "Labeler", "serviceEndpoint": {"uri": "https://x"}},
		{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://Enoki.us-east.host.bsky.network"}]}`

func TestWhatADocumentSays(t *testing.T) {
	const did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
	id, err := identity.Parse(did, []byte(document))
	if err != nil || id.Server != "https://enoki.us-east.host.bsky.network" || id.Handle != "atproto.com" || id.Key.String() != "zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w" {
		t.Errorf("%+v, %v", id, err)
	}
	for name, row := range map[string]struct{ old, new string }{
		"the id with the DID before it": {`"#atproto_pds"`, `"did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto_pds"`},
		"a slash at the end":            {`bsky.network"`, `bsky.network/"`},
	} {
		if got, err := identity.Parse(did, []byte(strings.Replace(document, row.old, row.new, 1))); err != nil || got.Server != id.Server {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, row := range map[string]struct{ old, new string }{
		"a path":             {`bsky.network"`, `bsky.network/xrpc"`},
		"a query":            {`bsky.network"`, `bsky.network?x"`},
		"a user":             {`https://Enoki`, `https://me:pass@Enoki`},
		"another scheme":     {`https://Enoki`, `ftp://Enoki`},
		"an object":          {`"https://Enoki.us-east.host.bsky.network"`, `{"a":1}`},
		"another type":       {`AtprotoPersonalDataServer`, `Other`},
		"another id":         {`#atproto_pds`, `#pds`},
		"the id of somebody": {`"#atproto_pds"`, `"did:plc:other#atproto_pds"`},
	} {
		if got, err := identity.Parse(did, []byte(strings.Replace(document, row.old, row.new, 1))); err != nil || got.Server != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, text := range map[string]string{"nothing": "", "a list": "[]", "somebody else's": strings.Replace(document, `"id": "did:plc:e`, `"id": "did:plc:f`, 1)} {
		if _, err := identity.Parse(did, []byte(text)); !errors.Is(err, identity.ErrDocument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDIDsThatCanBeLookedUp(t *testing.T) {
	for did, want := range map[string]bool{"did:plc:ewvi7nxzyoun6zhxrhs64oiz": true, "did:web:feed.example": true, "did:web:a-b.c.example": true,
		"did:plc:ewvi7nxzyoun6zhxrhs64oi": false, "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ": false, "did:plc:ewvi7nxzyoun6zhxrhs64oi1": false,
		"did:web:localhost": false, "did:web:127.0.0.1": false, "did:web:feed.example:path": false, "did:web:feed.example%3A8080": false, "did:web:feed.example/x": false,
		"did:web:.example": false, "did:web:-a.example": false, "did:key:zQ3sh": false, "": false, "did:web:" + strings.Repeat("a.", 140) + "example": false,
		"did:plc:../../../../etc/passwd": false, "did:plc:ewvi7nxzyoun6zhxrhs64oiz?x=1": false} {
		if err := identity.CheckDID(did); want != (err == nil) || err != nil && !errors.Is(err, identity.ErrDID) {
			t.Errorf("%s: %v", did, err)
		}
	}
}

type rig struct {
	*identity.Directory
	sim   *atsim.Sim
	clock *clockwork.FakeClock
	txt   []string // what DNS says, nil for what the sim does
}

func newRig(t *testing.T, most int) *rig {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	sim, err := atsim.New(atsim.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	client := guard.New(sim.Policy())
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	calls := xrpc.New(xrpc.Options{HTTP: client, Clock: clock, Pace: pace.New(pace.Options{Clock: clock, Start: math.MaxFloat64})})
	r := &rig{sim: sim, clock: clock}
	r.Directory = identity.New(identity.Options{Calls: calls, Clock: clock, PLC: sim.PLC(), Origin: sim.Origin, Most: most,
		TXT: func(ctx context.Context, name string) ([]string, error) {
			if r.txt != nil {
				return r.txt, nil
			}
			return sim.TXT(ctx, name)
		}})
	return r
}

func (r *rig) begin(t *testing.T, did, handle string) {
	t.Helper()
	if err := r.sim.Apply(atsim.Event{DID: did, Kind: "identity", Handle: handle}); err != nil {
		t.Fatal(err)
	}
}

// A handle leads to an account by DNS or by its host, and only when the account names it back.
func TestHandlesAreVerifiedBack(t *testing.T) {
	r := newRig(t, 0)
	alice, zoe, web := atsim.DID(1, 1), atsim.DID(1, 2), "did:web:feed.example"
	r.begin(t, alice, "alice.example") // by DNS
	r.begin(t, zoe, "zoe.example")     // by its host
	r.begin(t, web, "feed.example")
	for identifier, want := range map[string]string{"alice.example": alice, "@Alice.Example": alice, "zoe.example": zoe, "feed.example": web, alice: alice, web: web} {
		id, err := r.Resolve(t.Context(), identifier)
		if err != nil || id.DID != want || id.Server != r.sim.Host(0) {
			t.Errorf("%s: %+v, %v", identifier, id, err)
		}
	}
	if n := r.sim.Requests(); n["txt"] != 4 || n["atproto-did"] != 1 || n["did.json"] != 1 {
		t.Errorf("requests %v", n)
	}
	// The account has another handle now, and the document that is kept has the old one.
	r.begin(t, alice, "anna.example")
	if id, err := r.Resolve(t.Context(), "anna.example"); err != nil || id.DID != alice {
		t.Errorf("a new handle: %+v, %v", id, err)
	}
	r.sim.Handle(zoe, "yvonne.example")
	for _, identifier := range []string{"zoe.example", "alice.example", "nobody.example", "zzz.example", "nobody", "", "no body.example"} {
		if id, err := r.Resolve(t.Context(), identifier); !errors.Is(err, identity.ErrHandle) {
			t.Errorf("%q: %+v, %v", identifier, id, err)
		}
	}
}

// A handle that claims the DID of somebody else leads nowhere, and neither does one that claims
// two.
func TestHandlesThatClaimOthersLeadNowhere(t *testing.T) {
	r := newRig(t, 0)
	alice, bob := atsim.DID(1, 1), atsim.DID(1, 2)
	r.begin(t, alice, "alice.example")
	r.begin(t, bob, "bob.example")
	for _, claimed := range [][]string{{"did=" + alice}, {"did=" + alice, "did=" + bob}} {
		r.txt = claimed
		if id, err := r.Resolve(t.Context(), "mallory.example"); !errors.Is(err, identity.ErrHandle) {
			t.Errorf("%v: %+v, %v", claimed, id, err)
		}
	}
}

func TestI5_DocumentsAreBounded(t *testing.T) {
	r := newRig(t, 10)
	for n := range 30 {
		r.begin(t, atsim.DID(1, n), fmt.Sprintf("a%d.example", n))
	}
	for range 2 {
		for n := range 30 {
			if _, err := r.Lookup(t.Context(), atsim.DID(1, n%3)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Lookup(t.Context(), atsim.DID(1, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := r.sim.Requests()["plc"]; n != 57 { // three are used all the time, and the others come twice
		t.Errorf("%d documents fetched", n)
	}
	r.sim.Inject(atsim.Fault{Name: atsim.FaultLargeBody})
	if _, err := r.Refresh(t.Context(), atsim.DID(1, 1)); !errors.Is(err, xrpc.ErrTooLarge) {
		t.Errorf("a document without an end: %v", err)
	}
}

func TestDIDsThatAreGone(t *testing.T) {
	r := newRig(t, 0)
	did := atsim.DID(1, 1)
	r.begin(t, did, "alice.example")
	if _, err := r.Lookup(t.Context(), did); err != nil {
		t.Fatal(err)
	}
	r.sim.Tombstone(did)
	if _, err := r.Refresh(t.Context(), did); !errors.Is(err, identity.ErrTombstoned) {
		t.Error(err)
	}
	if _, err := r.Lookup(t.Context(), did); !errors.Is(err, identity.ErrTombstoned) {
		t.Errorf("its document is still there: %v", err)
	}
	if _, err := r.Lookup(t.Context(), atsim.DID(1, 2)); !errors.Is(err, identity.ErrNotFound) {
		t.Error(err)
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(document))
	f.Add([]byte(`{"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://[::1]:99"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := identity.Parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz", text)
		if err != nil {
			if !errors.Is(err, identity.ErrDocument) {
				t.Fatal(err)
			}
			return
		}
		if id.Server != "" && (!strings.HasPrefix(id.Server, "https://") && !strings.HasPrefix(id.Server, "http://") || strings.ContainsAny(id.Server[8:], "/?#@")) {
			t.Fatalf("the server %q", id.Server)
		}
	})
}
