// Package signing checks who signed a repository.
//
// An account's document names its key as multibase text: "z" and base58btc of two bytes that name
// the curve and of the 33 bytes of a compressed point. There are two curves, P-256 and secp256k1
// (k256). A signature is 64 bytes, r and s, over the SHA-256 of what is signed. Of the two values
// of s that fit a message only the lower one is taken: otherwise anybody could make a second
// signature of the first.
//
//	key.go    Key: parsing, text, verification
//	base58.go base58btc
package signing
