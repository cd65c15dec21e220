package atsim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	k256ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"tempestd/internal/accounts/signing"
)

// signer is what an account signs with: one of the two.
type signer struct {
	p256 *ecdsa.PrivateKey
	k256 *secp256k1.PrivateKey
}

// newSigner derives a signer. Equal arguments give equal ones. One of eight is of secp256k1, which
// is the slower curve here.
func newSigner(seed uint64, did string, generation int) signer {
	material := binary.BigEndian.AppendUint64(nil, seed)
	material = binary.BigEndian.AppendUint64(material, uint64(generation))
	sum := sha256.Sum256(append(material, did...))
	sum[0] &= 0x7f // below the order of both curves
	if sum[31]&7 == 0 {
		return signer{k256: secp256k1.PrivKeyFromBytes(sum[:])}
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:])
	if err != nil {
		return signer{k256: secp256k1.PrivKeyFromBytes(sum[:])}
	}
	return signer{p256: key}
}

func (s signer) public() signing.Key {
	if s.p256 != nil {
		return signing.P256(&s.p256.PublicKey)
	}
	return signing.K256(s.k256.PubKey())
}

// sign returns the 64 bytes of a signature with the lower s.
func (s signer) sign(content []byte) []byte {
	hash := sha256.Sum256(content)
	sig := make([]byte, 64)
	if s.k256 != nil {
		signature := k256ecdsa.Sign(s.k256, hash[:])
		r, low := signature.R(), signature.S()
		r.PutBytesUnchecked(sig[:32])
		low.PutBytesUnchecked(sig[32:])
		return sig
	}
	der, err := s.p256.Sign(nil, hash[:], crypto.SHA256) // without a source of randomness: RFC 6979
	var pair struct{ R, S *big.Int }
	if err == nil {
		_, err = asn1.Unmarshal(der, &pair)
	}
	if err != nil {
		panic(err)
	}
	n := s.p256.Curve.Params().N
	if pair.S.Cmp(new(big.Int).Rsh(n, 1)) > 0 {
		pair.S.Sub(n, pair.S)
	}
	pair.R.FillBytes(sig[:32])
	pair.S.FillBytes(sig[32:])
	return sig
}
