package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	k256ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

var (
	// ErrKey is the kind of every error about a text that is no key.
	ErrKey = errors.New("no key")
	// ErrSignature says that a signature is not of the key and the content.
	ErrSignature = errors.New("the signature does not fit")
)

// The two bytes that name a curve, and the size of a compressed point of both.
const (
	p256Prefix  = "\x80\x24"
	k256Prefix  = "\xe7\x01"
	pointSize   = 33
	didKey      = "did:key:"
	signedBytes = 64
)

// Key is a public key. The zero Key verifies nothing. It is safe for concurrent use.
type Key struct {
	p256 *ecdsa.PublicKey
	k256 *secp256k1.PublicKey
}

// ParseMultikey reads a key from its text, "z" and base58btc. A did:key, which has the same text
// behind its prefix, is a key too.
func ParseMultikey(text string) (Key, error) {
	text = strings.TrimPrefix(text, didKey)
	encoded, ok := strings.CutPrefix(text, "z")
	if !ok {
		return Key{}, fmt.Errorf("%w: %.80q does not begin with z, for base58btc", ErrKey, text)
	}
	b, err := parseBase58(encoded)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if len(b) != len(p256Prefix)+pointSize {
		return Key{}, fmt.Errorf("%w: %d bytes, want %d", ErrKey, len(b), len(p256Prefix)+pointSize)
	}
	curve, point := string(b[:len(p256Prefix)]), b[len(p256Prefix):]
	switch curve {
	case p256Prefix:
		x, y := elliptic.UnmarshalCompressed(elliptic.P256(), point)
		if x == nil {
			return Key{}, fmt.Errorf("%w: no point of P-256", ErrKey)
		}
		whole := make([]byte, 1+2*32)
		whole[0] = 4
		x.FillBytes(whole[1:33])
		y.FillBytes(whole[33:])
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), whole)
		if err != nil {
			return Key{}, fmt.Errorf("%w: no point of P-256", ErrKey)
		}
		return Key{p256: key}, nil
	case k256Prefix:
		key, err := secp256k1.ParsePubKey(point)
		if err != nil {
			return Key{}, fmt.Errorf("%w: no point of secp256k1", ErrKey)
		}
		return Key{k256: key}, nil
	}
	return Key{}, fmt.Errorf("%w: a curve that is neither P-256 nor secp256k1", ErrKey)
}

// P256 is the Key of a public key of that curve.
func P256(key *ecdsa.PublicKey) Key { return Key{p256: key} }

// K256 is the Key of a public key of secp256k1.
func K256(key *secp256k1.PublicKey) Key { return Key{k256: key} }

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.p256 == nil && k.k256 == nil }

// String is the text that ParseMultikey reads, "" of no key.
func (k Key) String() string {
	var b []byte
	switch {
	case k.p256 != nil:
		whole, err := k.p256.Bytes() // 4, x and y
		if err != nil {
			return ""
		}
		b = append([]byte(p256Prefix), 2|whole[len(whole)-1]&1)
		b = append(b, whole[1:33]...)
	case k.k256 != nil:
		b = append([]byte(k256Prefix), k.k256.SerializeCompressed()...)
	default:
		return ""
	}
	return string(appendBase58([]byte("z"), b))
}

// Verify returns an error, ErrSignature, unless sig is the key's signature of content.
func (k Key) Verify(content, sig []byte) error {
	if len(sig) != signedBytes {
		return fmt.Errorf("%w: it has %d bytes, want %d", ErrSignature, len(sig), signedBytes)
	}
	hash := sha256.Sum256(content)
	switch {
	case k.p256 != nil:
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		if half := new(big.Int).Rsh(k.p256.Curve.Params().N, 1); s.Cmp(half) > 0 {
			return fmt.Errorf("%w: its s is the higher one", ErrSignature)
		}
		if !ecdsa.Verify(k.p256, hash[:], r, s) {
			return ErrSignature
		}
		return nil
	case k.k256 != nil:
		var r, s secp256k1.ModNScalar
		if r.SetByteSlice(sig[:32]) || s.SetByteSlice(sig[32:]) {
			return fmt.Errorf("%w: a number beyond the curve's order", ErrSignature)
		}
		if s.IsOverHalfOrder() {
			return fmt.Errorf("%w: its s is the higher one", ErrSignature)
		}
		if !k256ecdsa.NewSignature(&r, &s).Verify(hash[:], k.k256) {
			return ErrSignature
		}
		return nil
	}
	return fmt.Errorf("%w: there is no key", ErrSignature)
}
