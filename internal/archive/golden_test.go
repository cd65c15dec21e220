package archive_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/archive"
	"tempestd/internal/archive/jss"
)

// static serves one segment file as the archive of a server.
func static(t *testing.T, file []byte, mode string) *httptest.Server {
	t.Helper()
	h := must(jss.ParseHeader(file))
	infos := must(jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset]))
	name, sum := jss.Name(0), jss.ChecksumText(h.Checksum)
	mux := http.NewServeMux()
	route := func(pattern string, answer http.HandlerFunc) {
		method, name, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /prefix/xrpc/network.bsky.jetstream."+name, answer)
	}
	route("POST planSnapshot", func(w http.ResponseWriter, r *http.Request) {
		blocks := ""
		if mode == "blocks" {
			blocks = fmt.Sprintf(`,"blocks":[{"first":0,"last":%d}]`, len(infos)-1)
		}
		fmt.Fprintf(w, `{"sealedTipSeq":%d,"plannedThroughSeq":%d,"segments":[{"name":%q,"index":0,"checksum":%q,"minSeq":%d,"maxSeq":%d,"mode":%q%s}],"stats":{}}`,
			h.MaxSeq, h.MaxSeq, name, sum, h.MinSeq, h.MaxSeq, mode, blocks)
	})
	route("GET listSegments", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"segments":[{"name":%q,"index":0,"sizeBytes":%d,"checksum":%q,"eventCount":%d,"minSeq":%d,"maxSeq":%d,"minWitnessedAt":%d,"maxWitnessedAt":%d}]}`,
			name, len(file), sum, h.Events, h.MinSeq, h.MaxSeq, h.MinWitnessedUS, h.MaxWitnessedUS)
	})
	route("GET getSegment", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+sum+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
	})
	route("GET getBlock", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("blockIndex"))
		w.Header().Set("ETag", fmt.Sprintf(`"%s:%d"`, sum, n))
		// In pieces, without a length.
		frame := file[infos[n].FrameOffset():][:infos[n].Size]
		_, _ = w.Write(frame[:100])
		w.(http.Flusher).Flush()
		_, _ = w.Write(frame[100:])
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// With TEMPEST_CORPUS, a sweep reads a real segment through a server, as a whole and block by block.
func TestGoldenSegmentThroughAServer(t *testing.T) {
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		t.Skip("TEMPEST_CORPUS names no folder of test data")
	}
	file := must(os.ReadFile(filepath.Join(dir, "archive", "golden_corpus_segment.jss")))
	// Row n has the record of line n.
	records := strings.Split(strings.TrimSpace(string(must(os.ReadFile(filepath.Join(dir, "archive", "car_expected_records.tsv"))))), "\n")
	for _, mode := range []string{"segment", "blocks"} {
		s := static(t, file, mode)
		c, err := archive.NewClient(archive.Options{BaseURL: s.URL + "/prefix/", HTTP: s.Client(), Clock: clockwork.NewRealClock(), Rand: rand.New(rand.NewPCG(1, 2))})
		if err != nil {
			t.Fatal(err)
		}
		got, r := sweep(t, archive.Sweep{Client: c})
		if len(got.entries) != 23 || r.Through != 23 || !rising(got.seqs()) {
			t.Fatalf("%s: %d entries, %+v", mode, len(got.entries), r)
		}
		for i, entry := range got.entries {
			var e struct {
				DID    string
				TimeUS int64 `json:"time_us"`
				Cursor int64
				Commit struct{ Rev, Operation, CID, Collection, RKey string }
			}
			if err := json.Unmarshal(entry, &e); err != nil {
				t.Fatal(err)
			}
			c := &e.Commit
			if n := int64(i + 1); e.Cursor != n || e.TimeUS != 1750000000000000+n || c.Collection+"/"+c.RKey+"\t"+c.CID != records[i] || c.Operation != "create" ||
				c.Rev != "3migo7fijwi2k" || e.DID != "did:plc:53iucmf5ldftgqyf2ac7hmhd" {
				t.Errorf("%s: row %d is %s", mode, n, entry)
			}
		}
		price, err := (&archive.Sweep{Client: c}).Price(t.Context())
		if err != nil || price.Through != 23 || mode == "segment" && price.Bytes != int64(len(file)) {
			t.Errorf("%s: %+v, %v", mode, price, err)
		}
	}
}
