package archive

import (
	"bytes"
	"encoding/json"
	"errors"
)

// This file reads JSON one element at a time, so that a list is bounded before memory is taken for
// it: three bytes of JSON can make a struct of a hundred.

var errShape = errors.New("a value of another type")

// reading decodes one document.
type reading struct{ *json.Decoder }

func readJSON(body []byte) reading { return reading{json.NewDecoder(bytes.NewReader(body))} }

// members calls member with each key of an object; member reads the value.
func (r reading) members(member func(key string) error) error {
	if err := r.begin('{'); err != nil {
		return err
	}
	for r.More() {
		key, err := r.Token()
		if err != nil {
			return err
		}
		if err := member(key.(string)); err != nil { // a key is a string, or there is an error
			return err
		}
	}
	_, err := r.Token()
	return err
}

// elements calls element at each element of a list, which element reads, up to most times.
func (r reading) elements(most int, element func() error) error {
	if err := r.begin('['); err != nil {
		return err
	}
	for n := 0; r.More(); n++ {
		if n == most {
			return badAnswer("a list of more than %d elements", most)
		}
		if err := element(); err != nil {
			return err
		}
	}
	_, err := r.Token()
	return err
}

func (r reading) begin(d json.Delim) error {
	t, err := r.Token()
	if err == nil && t != d {
		err = errShape
	}
	return err
}

// skip reads a value that nobody wants.
func (r reading) skip() error {
	var v json.RawMessage
	return r.Decode(&v)
}
