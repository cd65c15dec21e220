package jetsim

// This file writes the identifiers of the AT protocol from random bits, so that they have the
// entropy of real ones.

const (
	base32Alphabet   = "abcdefghijklmnopqrstuvwxyz234567" // RFC 4648, lower case: DIDs and CIDs
	sortableAlphabet = "234567abcdefghijklmnopqrstuvwxyz" // TIDs: their text sorts in numeric order
)

const (
	didLen = len("did:plc:") + 24
	tidLen = 13
)

// random is a splitmix64 generator. Its state is eight bytes, so every event can have its own.
type random uint64

const golden = 0x9e3779b97f4a7c15

// mix is splitmix64's output function: a bijection in which every output bit depends on every input
// bit.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (r *random) next() uint64 {
	*r += golden
	return mix(uint64(*r))
}

// below returns a number in [0, n). Its bias is below 2^-32 for the small n used here, which does
// not matter for a simulation.
func (r *random) below(n uint64) uint64 { return r.next() >> 32 * n >> 32 }

// appendBase32 appends n random characters of base32.
func (r *random) appendBase32(b []byte, n int) []byte {
	for n > 0 {
		x := r.next()
		for range min(n, 12) {
			b = append(b, base32Alphabet[x&31])
			x >>= 5
		}
		n -= 12
	}
	return b
}

func (r *random) appendDID(b []byte) []byte { return r.appendBase32(append(b, "did:plc:"...), 24) }

// appendCID appends the CIDv1 of a SHA-256 hash. Four header bytes and 32 hash bytes are 288 bits.
// The seventh character still holds two header bits, which are zero, and the last one ends in two
// bits of padding. So both are chosen from a part of the alphabet.
func (r *random) appendCID(b []byte, prefix string) []byte {
	b = append(b, prefix...)
	x := r.next()
	b = append(b, base32Alphabet[x&7])
	b = r.appendBase32(b, 50)
	return append(b, base32Alphabet[x>>3&7<<2])
}

const (
	recordCID = "bafyrei" // dag-cbor: records and commits
	blobCID   = "bafkrei" // raw: images
)

// appendTID appends a timestamp identifier: 53 bits of microseconds, 10 bits of clock.
func appendTID(b []byte, us, clock uint64) []byte {
	v := us<<10 | clock&1023
	for shift := 60; shift >= 0; shift -= 5 {
		b = append(b, sortableAlphabet[v>>shift&31])
	}
	return b
}
