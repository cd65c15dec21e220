package accounts_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"tempestd/internal/accounts"
	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/repo"
)

// With TEMPEST_CORPUS, the records of a whole repository: from their JSON each comes back to the
// block and the CID that its server had.
func TestGoldenRecordsComeBackFromJSON(t *testing.T) {
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		t.Skip("TEMPEST_CORPUS names no folder of test data")
	}
	file, err := os.Open(filepath.Join(dir, "archive", "repo.car"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	car, err := repo.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[dagcbor.CID][]byte{}
	for {
		cid, data, err := car.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		blocks[cid] = bytes.Clone(data)
	}
	commit, err := repo.ParseCommit(blocks[car.Root()])
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	get := func(cid dagcbor.CID) ([]byte, error) { return blocks[cid], nil }
	err = repo.Walk(commit.Data, get, func(key []byte, cid dagcbor.CID) error {
		text, err := new(dagcbor.Encoder).AppendJSON(nil, blocks[cid])
		if err != nil {
			return err
		}
		v, err := dagcbor.FromJSON(text)
		if err != nil {
			return err
		}
		if again, err := dagcbor.Append(nil, v); err != nil || !bytes.Equal(again, blocks[cid]) {
			t.Errorf("%s: %x, %v", key, again, err)
		}
		r, err := accounts.NewRecord(commit.DID, "a.b.c", "x", cid.String(), text)
		if err != nil || !bytes.Equal(r.JSON, text) {
			t.Errorf("%s: %s, %v", key, r.JSON, err)
		}
		n++
		return nil
	})
	if err != nil || n < 20 {
		t.Errorf("%d records, %v", n, err)
	}
}
