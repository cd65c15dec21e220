package atsim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tempestd/internal/archive/dagcbor"
)

// account is an account and its repository.
type account struct {
	did, handle string
	host        int
	rev         string
	records     map[string]block // by path
	// keys are those of each collection, in order; nil after a change.
	keys       map[string][]string
	built      []block // of the repository, the commit first; nil after a change
	status     string  // "" for active
	tombstoned bool
	generation int // of the key
	password   string
}

// account returns the account of a DID, which begins now if there is none yet. The caller holds mu.
func (s *Sim) account(did string) *account {
	a := s.accounts[did]
	if a == nil {
		sum := sha256.Sum256([]byte(did))
		a = &account{did: did, host: int(binary.BigEndian.Uint32(sum[:]) % uint32(len(s.hosts))), records: map[string]block{}}
		a.handle = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, did) + ".example"
		s.accounts[did] = a
		s.handles[a.handle] = did
	}
	return a
}

// sorted is the keys of a collection, in order. The caller holds mu.
func (a *account) sorted(collection string) []string {
	if a.keys == nil {
		a.keys = map[string][]string{}
		for _, path := range slices.Sorted(maps.Keys(a.records)) {
			c, key, _ := strings.Cut(path, "/")
			a.keys[c] = append(a.keys[c], key)
		}
	}
	return a.keys[collection]
}

// Move puts an account on another host; its document says so from now on.
func (s *Sim) Move(did string, host int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(did).host = host
}

// Rotate gives an account a new key.
func (s *Sim) Rotate(did string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(did)
	a.generation++
	a.built = nil
}

// Stand says how an account stands: "" for active, or "deactivated", "takendown", "suspended",
// "deleted".
func (s *Sim) Stand(did, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(did).status = status
}

// Tombstone has the owner of an account give up its DID.
func (s *Sim) Tombstone(did string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(did)
	a.tombstoned, a.status = true, "deleted"
}

// Password makes an account one that one can log in as.
func (s *Sim) Password(did, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(did).password = password
}

// ViewerPassword is the app password of the viewer.
const ViewerPassword = "app-pass"

// Watch makes an account that one can log in as, the viewer, and has it follow accounts from a time
// on.
func (s *Sim) Watch(dids []string, from time.Time) (viewer string, err error) {
	viewer = DID(s.opt.Seed, -1)
	for n, did := range dids {
		at := from.Add(time.Duration(n) * time.Millisecond)
		err := s.Apply(Event{DID: viewer, Time: at, Rev: TID(at, 0), Operation: "create", Collection: followCollection, RKey: TID(at, 0),
			Record: fmt.Appendf(nil, `{"$type":"app.bsky.graph.follow","createdAt":%q,"subject":%q}`, at.UTC().Format(timeLayout), did)})
		if err != nil {
			return "", err
		}
	}
	s.Password(viewer, ViewerPassword)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.viewer = viewer
	return viewer, nil
}

// Handle gives an account a handle.
func (s *Sim) Handle(did, handle string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(did)
	delete(s.handles, a.handle)
	a.handle = handle
	s.handles[handle] = did
}

// Rev is the latest revision of an account, "" for none.
func (s *Sim) Rev(did string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account(did).rev
}

// Record is a record that an account has.
type Record struct {
	Collection, RKey string
	CID              dagcbor.CID
	JSON             []byte // in the form that Jetstream servers send
}

// Records lists what an account's repository holds, in the order of its paths.
func (s *Sim) Records(did string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(did)
	var all []Record
	for _, path := range slices.Sorted(maps.Keys(a.records)) {
		collection, rkey, _ := strings.Cut(path, "/")
		all = append(all, Record{collection, rkey, a.records[path].cid, a.records[path].json()})
	}
	return all
}

// json is a record's block as Jetstream servers send it.
func (r block) json() []byte {
	text, err := new(dagcbor.Encoder).AppendJSON(nil, r.data)
	if err != nil {
		panic(err)
	}
	return text
}
