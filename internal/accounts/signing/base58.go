package signing

import "fmt"

const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// maxBase58 bounds a text: decoding takes time that grows with its square. A key has 48 characters.
const maxBase58 = 256

var base58Digits = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range len(base58Alphabet) {
		t[base58Alphabet[i]] = int8(i)
	}
	return t
}()

// appendBase58 appends src as base58btc.
func appendBase58(dst, src []byte) []byte {
	var digits []byte // little-endian
	zeros := 0
	for zeros < len(src) && src[zeros] == 0 {
		zeros++
	}
	for _, b := range src[zeros:] {
		carry := int(b)
		for i := range digits {
			carry += int(digits[i]) << 8
			digits[i] = byte(carry % 58)
			carry /= 58
		}
		for ; carry > 0; carry /= 58 {
			digits = append(digits, byte(carry%58))
		}
	}
	for range zeros {
		dst = append(dst, base58Alphabet[0])
	}
	for i := len(digits) - 1; i >= 0; i-- {
		dst = append(dst, base58Alphabet[digits[i]])
	}
	return dst
}

func parseBase58(s string) ([]byte, error) {
	if len(s) > maxBase58 {
		return nil, fmt.Errorf("%d characters of base58, want at most %d", len(s), maxBase58)
	}
	zeros := 0
	for zeros < len(s) && s[zeros] == base58Alphabet[0] {
		zeros++
	}
	var bytes []byte // little-endian
	for i := zeros; i < len(s); i++ {
		carry := int(base58Digits[s[i]])
		if carry < 0 {
			return nil, fmt.Errorf("the character %q is not of base58", s[i])
		}
		for j := range bytes {
			carry += int(bytes[j]) * 58
			bytes[j] = byte(carry)
			carry >>= 8
		}
		for ; carry > 0; carry >>= 8 {
			bytes = append(bytes, byte(carry))
		}
	}
	out := make([]byte, zeros+len(bytes))
	for i, b := range bytes {
		out[len(out)-1-i] = b
	}
	return out, nil
}
