package atproto

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// DIDSet is a set of accounts that takes little memory: 16 bytes for a did:plc, which nearly all
// accounts have, where a map of strings takes 100. It is exact: the 24 characters of base32 are
// packed, not hashed. A nil DIDSet is empty. It is immutable, and so safe for concurrent use.
type DIDSet struct {
	plc []plc // sorted
	// first has the index of the first of plc whose hi begins with the bits i, for each i, and
	// len(plc) at its end. The characters are as good as random, so that a lookup compares some few
	// entries; whatever they are, it is a binary search.
	first  []uint32
	shift  int // hi >> shift are the first bits
	others map[string]struct{}
	size   int
}

// plc is the identifier of a did:plc: 12 characters of 5 bits in each half.
type plc struct{ hi, lo uint64 }

const (
	plcPrefix = "did:plc:"
	plcLen    = len(plcPrefix) + 24
	halfBits  = 60
	// perBucket is how many entries begin with the same bits, on average.
	perBucket = 8
	// othersCost is how many bytes an element of a map of strings takes beside its text.
	othersCost = 40
)

// NewDIDSet returns the set of the DIDs, nil if there are none.
func NewDIDSet(dids []string) *DIDSet {
	if len(dids) == 0 {
		return nil
	}
	s := &DIDSet{}
	all := make([]plc, 0, len(dids))
	for _, did := range dids {
		if p, ok := pack([]byte(did)); ok {
			all = append(all, p)
			continue
		}
		if s.others == nil {
			s.others = make(map[string]struct{})
		}
		if _, twice := s.others[did]; !twice {
			// A copy: the given text may be a part of a long one, which it would keep in memory.
			s.others[strings.Clone(did)] = struct{}{}
			s.size += len(did) + othersCost
		}
	}
	slices.SortFunc(all, plc.compare)
	s.plc = slices.Clip(slices.Compact(all))
	if 2*len(s.plc) < cap(all) {
		s.plc = slices.Clone(s.plc)
	}
	s.index()
	s.size += 16*cap(s.plc) + 4*len(s.first)
	return s
}

func (s *DIDSet) index() {
	prefix := bits.Len(uint(len(s.plc) / perBucket))
	s.shift = halfBits - prefix
	s.first = make([]uint32, 1<<prefix+1)
	at := 0
	for i := range s.first {
		for at < len(s.plc) && s.plc[at].hi>>s.shift < uint64(i) {
			at++
		}
		s.first[i] = uint32(at)
	}
}

func (p plc) compare(q plc) int {
	if p.hi != q.hi {
		return cmp.Compare(p.hi, q.hi)
	}
	return cmp.Compare(p.lo, q.lo)
}

// Has reports whether the DID is in the set. Nothing is allocated.
func (s *DIDSet) Has(did []byte) bool {
	if s == nil {
		return false
	}
	p, ok := pack(did)
	if !ok {
		_, ok = s.others[string(did)]
		return ok
	}
	bucket := p.hi >> s.shift
	for among := s.plc[s.first[bucket]:s.first[bucket+1]]; len(among) > 0; {
		mid := len(among) / 2
		switch at := among[mid]; {
		case at == p:
			return true
		case at.hi < p.hi, at.hi == p.hi && at.lo < p.lo:
			among = among[mid+1:]
		default:
			among = among[:mid]
		}
	}
	return false
}

// Len returns how many DIDs are in the set.
func (s *DIDSet) Len() int {
	if s == nil {
		return 0
	}
	return len(s.plc) + len(s.others)
}

// Digest returns a hash of the accounts in the set: sets with the same digest have the same accounts.
func (s *DIDSet) Digest() [sha256.Size]byte {
	h := sha256.New()
	piece := make([]byte, 0, 16*64)
	for i, p := range s.plc {
		piece = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(piece, p.hi), p.lo)
		if len(piece) == cap(piece) || i == len(s.plc)-1 {
			h.Write(piece)
			piece = piece[:0]
		}
	}
	for _, did := range slices.Sorted(maps.Keys(s.others)) {
		h.Write([]byte(did))
		h.Write([]byte{0}) // no DID has it
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Size returns about how many bytes of memory the set takes.
func (s *DIDSet) Size() int {
	if s == nil {
		return 0
	}
	return s.size
}

// pack returns the identifier of a did:plc. Other DIDs have none.
func pack(did []byte) (p plc, ok bool) {
	if len(did) != plcLen || string(did[:len(plcPrefix)]) != plcPrefix {
		return p, false
	}
	id := did[len(plcPrefix):]
	hi, lo := id[:len(id)/2], id[len(id)/2:]
	var bad byte
	for i, c := range hi {
		d := lo[i]
		p.hi = p.hi<<5 | uint64(digits[c]&31)
		p.lo = p.lo<<5 | uint64(digits[d]&31)
		bad |= digits[c] | digits[d]
	}
	return p, bad < 32
}

// digits has the value of each character of base32, and noDigit for the other characters.
var digits = func() (values [256]byte) {
	const noDigit = 32
	for i := range values {
		values[i] = noDigit
	}
	for i := range byte(26) {
		values['a'+i] = i
	}
	for i := range byte(6) {
		values['2'+i] = 26 + i
	}
	return values
}()
