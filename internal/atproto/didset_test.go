package atproto_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tempestd/internal/atproto"
)

const base32 = "abcdefghijklmnopqrstuvwxyz234567"

// plcs returns n different DIDs of the method that nearly all accounts have.
func plcs(random *rand.Rand, n int) []string {
	all := make([]string, n)
	for i := range all {
		id := make([]byte, 24)
		for k := range id {
			id[k] = base32[random.IntN(len(base32))]
		}
		all[i] = "did:plc:" + string(id)
	}
	return all
}

// A set of DIDs has what a map has, and nothing else: DIDs that differ in one character or begin in
// the same way, other methods, and what is no DID at all.
func TestI2_ASetOfDIDsIsExact(t *testing.T) {
	did := rapid.OneOf(
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte(base32)), 24, 24), func(id []byte) string { return "did:plc:" + string(id) }),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte("a7")), 3, 3), func(id []byte) string { return "did:plc:aaaaaaaaaaaaaaaaaaaaa" + string(id) }),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte("a7")), 3, 3), func(id []byte) string { return "did:plc:" + string(id) + "aaaaaaaaaaaaaaaaaaaaa" }),
		rapid.SampledFrom([]string{"did:web:example.org", "did:plc:short", "did:plc:ABCDEFGHIJKLMNOPQRSTUVWX", "did:plc:0123456789abcdefghijklmn", "did:xyz:aaaaaaaaaaaaaaaaaaaaaaaa", ""}),
	)
	rapid.Check(t, func(r *rapid.T) {
		given := rapid.SliceOfN(did, 0, 200).Draw(r, "given")
		want := map[string]bool{}
		for _, d := range given {
			want[d] = true
		}
		s := atproto.NewDIDSet(given)
		if s.Len() != len(want) {
			r.Fatalf("has %d of %d", s.Len(), len(want))
		}
		for _, d := range slices.Concat(given, rapid.SliceOfN(did, 0, 50).Draw(r, "asked")) {
			if s.Has([]byte(d)) != want[d] {
				r.Fatalf("%q is in the set: %t, want %t", d, s.Has([]byte(d)), want[d])
			}
		}
	})
}

func TestI5_ASetOfTenThousandAccountsTakesLittleMemory(t *testing.T) {
	all := plcs(rand.New(rand.NewPCG(1, 2)), atproto.MaxDIDs)
	s := atproto.NewDIDSet(all)
	if s.Size() > 170_000 {
		t.Errorf("%d accounts take %d bytes", s.Len(), s.Size())
	}
	if allocs := testing.AllocsPerRun(100, func() { s.Has([]byte(all[0])) }); allocs > 0 {
		t.Errorf("a lookup allocates %v times", allocs)
	}
}

func BenchmarkDIDSet(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		all := plcs(rand.New(rand.NewPCG(1, 2)), n)
		s := atproto.NewDIDSet(all)
		asked := [][]byte{}
		for _, d := range slices.Concat(all[:50], plcs(rand.New(rand.NewPCG(3, 4)), 974)) {
			asked = append(asked, []byte(d))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				s.Has(asked[i%len(asked)])
				i++
			}
			b.ReportMetric(float64(s.Size())/float64(n), "B/account")
		})
	}
}
