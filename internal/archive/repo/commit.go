package repo

import (
	"errors"

	"tempestd/internal/archive/dagcbor"
)

// Version is the one version of repositories that is read.
const Version = 3

// Commit is the root of a repository.
type Commit struct {
	DID  string
	Rev  string
	Data dagcbor.CID // the root of the tree
	Sig  []byte      // over the SHA-256 of Signed
	// Signed is the encoding of the commit without its signature.
	Signed []byte
}

// ParseCommit reads a commit's block.
func ParseCommit(block []byte) (Commit, error) {
	var c Commit
	var version int64
	var members int64
	var signed []byte
	p := dagcbor.NewParser(block)
	err := p.Members(func(key []byte) error {
		from := p.Offset()
		item, err := p.Next()
		if err != nil {
			return err
		}
		switch name := string(key); {
		case name == "did" && item.Kind == dagcbor.Text:
			c.DID = string(item.Data)
		case name == "rev" && item.Kind == dagcbor.Text:
			c.Rev = string(item.Data)
		case name == "data" && item.Kind == dagcbor.Link:
			c.Data = item.CID
		case name == "sig" && item.Kind == dagcbor.Bytes:
			c.Sig = append([]byte(nil), item.Data...)
			return nil
		case name == "version" && item.Kind == dagcbor.Int:
			version = item.Int
		case name == "prev" && (item.Kind == dagcbor.Null || item.Kind == dagcbor.Link):
		default:
			// A member of later is signed like the others, but only a plain value is known to
			// have been read to its end.
			if item.Kind == dagcbor.List || item.Kind == dagcbor.Map {
				return corrupt("a commit whose %.20q is a %v", key, item.Kind)
			}
		}
		members++
		signed = append(append(append(signed, 0x60|byte(len(key))), key...), block[from:p.Offset()]...)
		if len(key) > 23 {
			return corrupt("a commit with the member %.40q", key)
		}
		return nil
	})
	if err == nil {
		err = p.Done()
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		return Commit{}, err
	case err != nil:
		return Commit{}, corrupt("its commit: %v", err)
	case version != Version:
		return Commit{}, corrupt("a repository of version %d, want %d", version, Version)
	case c.DID == "" || c.Rev == "" || c.Data == dagcbor.CID{} || len(c.Sig) == 0:
		return Commit{}, corrupt("a commit without did, rev, data or sig")
	case members > 23:
		return Commit{}, corrupt("a commit of %d members", members)
	}
	c.Signed = append([]byte{0xa0 | byte(members)}, signed...)
	return c, nil
}
