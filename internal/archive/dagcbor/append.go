package dagcbor

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

var errDeep = &Error{ErrMalformed, 0, fmt.Sprintf("more than %d levels", MaxDepth)}

// FromJSON reads a value of the data model from JSON, in any order of keys and with any escapes, as
// nil, bool, int64, string, []byte, CID, []any or map[string]any. Numbers that are no 64-bit
// integers, and objects with $bytes or $link beside other keys, are ErrOutsideModel; the other
// errors are ErrMalformed. Of a key that stands twice the last one counts, and what is no UTF-8
// becomes U+FFFD: whoever knows the CID of the value learns of both by comparing it.
func FromJSON(src []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, &Error{ErrMalformed, int(d.InputOffset()), "as JSON: " + err.Error()}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &Error{ErrMalformed, int(d.InputOffset()), "as JSON: something follows the value"}
	}
	return fromJSON(v, 0)
}

func fromJSON(v any, depth int) (any, error) {
	switch v := v.(type) {
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			return nil, &Error{ErrOutsideModel, 0, fmt.Sprintf("%.40q is no integer of 64 bits", string(v))}
		}
		return n, nil
	case []any:
		if depth == MaxDepth {
			return nil, errDeep
		}
		for i := range v {
			var err error
			if v[i], err = fromJSON(v[i], depth+1); err != nil {
				return nil, err
			}
		}
		return v, nil
	case map[string]any:
		if special, ok, err := fromObject(v); ok || err != nil {
			return special, err
		}
		if depth == MaxDepth {
			return nil, errDeep
		}
		for key := range v {
			var err error
			if v[key], err = fromJSON(v[key], depth+1); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	return v, nil // nil, bool and string
}

// fromObject reads {"$bytes": …} and {"$link": …}.
func fromObject(v map[string]any) (any, bool, error) {
	for _, key := range [...]string{"$bytes", "$link"} {
		value, ok := v[key]
		if !ok {
			continue
		}
		text, ok := value.(string)
		if !ok || len(v) != 1 {
			return nil, false, &Error{ErrOutsideModel, 0, key + " stands beside another key, or is no text"}
		}
		if key == "$link" {
			cid, err := ParseCIDText(text)
			if err != nil {
				return nil, false, &Error{ErrOutsideModel, 0, err.Error()}
			}
			return cid, true, nil
		}
		data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
		if err != nil {
			return nil, false, &Error{ErrOutsideModel, 0, "$bytes that are no base64"}
		}
		return data, true, nil
	}
	return nil, false, nil
}

// Append appends the one encoding of a value: nil, bool, int, int64, string, []byte, CID, []any or
// map[string]any. Anything else is ErrOutsideModel. After an error dst is given back as it was.
func Append(dst []byte, v any) ([]byte, error) {
	out, err := appendValue(dst, v, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(dst, 0xf6), nil
	case bool:
		if v {
			return append(dst, 0xf5), nil
		}
		return append(dst, 0xf4), nil
	case int:
		return appendInt(dst, int64(v)), nil
	case int64:
		return appendInt(dst, v), nil
	case string:
		return append(appendHead(dst, 3, uint64(len(v))), v...), nil
	case []byte:
		return append(appendHead(dst, 2, uint64(len(v))), v...), nil
	case CID:
		return v.AppendBinary(append(dst, 0xd8, 42, 0x58, 1+CIDSize, 0))
	case []any:
		if depth == MaxDepth {
			return nil, errDeep
		}
		dst = appendHead(dst, 4, uint64(len(v)))
		for _, element := range v {
			if dst, err = appendValue(dst, element, depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case map[string]any:
		if depth == MaxDepth {
			return nil, errDeep
		}
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
		dst = appendHead(dst, 5, uint64(len(v)))
		for _, key := range keys {
			dst = append(appendHead(dst, 3, uint64(len(key))), key...)
			if dst, err = appendValue(dst, v[key], depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return nil, &Error{ErrOutsideModel, 0, fmt.Sprintf("a %T", v)}
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, 1, uint64(-1-n))
	}
	return appendHead(dst, 0, uint64(n))
}

// appendHead appends a major type and its argument in the shortest form.
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}
