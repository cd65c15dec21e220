package dagcbor

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
)

// The codecs that a CID of the data model may have.
const (
	CodecRaw     = 0x55 // a blob
	CodecDAGCBOR = 0x71 // a record, a node of a tree, a commit
)

// CIDSize is the length of a CID in bytes.
const CIDSize = 4 + sha256.Size

// CID identifies content by its hash: a CIDv1 of SHA-256, the only form in the data model. It is
// comparable; the zero CID identifies nothing.
type CID struct {
	Codec byte
	Hash  [sha256.Size]byte
}

// Sum is the CID of data.
func Sum(codec byte, data []byte) CID { return CID{codec, sha256.Sum256(data)} }

var errCID = errors.New("a link that is no CIDv1 of SHA-256 with the codec dag-cbor or raw")

// ParseCID reads the binary form. It accepts that of the data model alone.
func ParseCID(b []byte) (CID, error) {
	if len(b) != CIDSize || b[0] != 1 || b[1] != CodecRaw && b[1] != CodecDAGCBOR || b[2] != 0x12 || b[3] != sha256.Size {
		return CID{}, errCID
	}
	return CID{b[1], [sha256.Size]byte(b[4:])}, nil
}

var cidText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseCIDText reads the text form: "b" and lower-case base32.
func ParseCIDText(s string) (CID, error) {
	if len(s) != 1+cidText.EncodedLen(CIDSize) || s[0] != 'b' {
		return CID{}, fmt.Errorf("%.80q: %w, as text", s, errCID)
	}
	b, err := cidText.DecodeString(s[1:])
	if err != nil {
		return CID{}, fmt.Errorf("%.80q: %w, as text", s, errCID)
	}
	return ParseCID(b)
}

// AppendBinary appends the binary form.
func (c CID) AppendBinary(dst []byte) ([]byte, error) {
	return append(append(dst, 1, c.Codec, 0x12, sha256.Size), c.Hash[:]...), nil
}

// AppendText appends the text form: "b" and lower-case base32.
func (c CID) AppendText(dst []byte) ([]byte, error) {
	var b [CIDSize]byte
	bin, err := c.AppendBinary(b[:0])
	return cidText.AppendEncode(append(dst, 'b'), bin), err
}

func (c CID) String() string {
	b, _ := c.AppendText(nil)
	return string(b)
}
