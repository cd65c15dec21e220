package jetsim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/archive/jss"
	"tempestd/internal/jetsim"
)

const archiveCalls = "/xrpc/network.bsky.jetstream."

// call makes a call of the archive.
func call(t testing.TB, s *jetsim.Sim, method, target, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequest(method, archiveCalls+target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), b
}

// planned is a page of a plan.
type planned struct {
	SealedTipSeq, PlannedThroughSeq uint64
	Segments                        []struct {
		Name, Checksum, Mode string
		MinSeq, MaxSeq       uint64
		Blocks               []struct{ First, Last int }
	}
	Stats struct{ Entries, BlocksMatched int }
}

func plan(t testing.TB, s *jetsim.Sim, request string) (p planned) {
	t.Helper()
	resp, body := call(t, s, http.MethodPost, "planSnapshot", request)
	if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", request, resp.StatusCode, body)
	}
	return p
}

func archived(t testing.TB, n int64, a jetsim.ArchiveOptions) *jetsim.Sim {
	t.Helper()
	return newSim(t, jetsim.Options{Backlog: n, Segment: 200, Block: 20, Syncs: true, Archive: &a})
}

func TestPlansOfAnArchive(t *testing.T) {
	s := archived(t, 1050, jetsim.ArchiveOptions{})
	all := plan(t, s, `{}`)
	if len(all.Segments) != 5 || all.Segments[0].Mode != "segment" || all.SealedTipSeq != all.Segments[4].MaxSeq || all.PlannedThroughSeq != all.SealedTipSeq || all.Stats.Entries != 5 {
		t.Fatalf("%+v", all)
	}
	if few := plan(t, s, `{"collections":["app.bsky.graph.block"],"kinds":["commit"]}`); few.Segments[0].Mode != "blocks" || few.Stats.BlocksMatched == 0 || few.Stats.BlocksMatched >= 30 {
		t.Errorf("%+v", few)
	}
	if none := plan(t, s, `{"collections":["com.nobody.*"],"kinds":["commit"]}`); len(none.Segments) != 0 || none.PlannedThroughSeq != all.SealedTipSeq {
		t.Errorf("%+v", none)
	}
	if markers := plan(t, s, `{"collections":["com.nobody.*"]}`); markers.Stats.BlocksMatched == 0 {
		t.Error("blocks with markers are planned unless kinds leave them out")
	}
	if part := plan(t, s, fmt.Sprintf(`{"afterSeq":%d,"beforeSeq":%d}`, all.Segments[1].MaxSeq, all.Segments[2].MinSeq)); len(part.Segments) != 1 || part.PlannedThroughSeq != all.Segments[2].MinSeq || part.SealedTipSeq != part.PlannedThroughSeq {
		t.Errorf("%+v", part)
	}
	paged := archived(t, 1050, jetsim.ArchiveOptions{PlanEntries: 2})
	if first := plan(t, paged, `{}`); len(first.Segments) != 2 || first.PlannedThroughSeq != first.Segments[1].MaxSeq || first.SealedTipSeq != all.SealedTipSeq {
		t.Errorf("%+v", first)
	}
	for _, request := range []string{`{"kinds":["x"]}`, `{"dids":["x"]}`, `{"collections":["*"]}`, `{"collections":["app.bsky.feed.post"],"kinds":["sync"]}`, `{"afterSeq":-1}`, `{"afterSeq":5,"beforeSeq":5}`, `[`} {
		if resp, body := call(t, s, http.MethodPost, "planSnapshot", request); resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "InvalidRequest") {
			t.Errorf("%s: %d %s", request, resp.StatusCode, body)
		}
	}
	if empty := plan(t, archived(t, 50, jetsim.ArchiveOptions{}), `{}`); empty.SealedTipSeq != 0 || len(empty.Segments) != 0 {
		t.Errorf("%+v", empty)
	}
}

func TestSegmentsAndBlocksOfAnArchive(t *testing.T) {
	s := archived(t, 1000, jetsim.ArchiveOptions{})
	g := plan(t, s, `{}`).Segments[1]
	resp, file := call(t, s, http.MethodGet, "getSegment?name="+g.Name, "")
	h, err := jss.ParseHeader(file)
	if err != nil || jss.ChecksumText(h.Checksum) != g.Checksum || resp.Header.Get("Etag") != `"`+g.Checksum+`"` || jss.Verify(file[:jss.HeaderSize], file[h.IndexOffset:]) != nil {
		t.Fatalf("%+v, %v, %v", h, err, resp.Header)
	}
	infos, err := jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset])
	if err != nil || len(infos) != 10 {
		t.Fatalf("%d blocks, %v", len(infos), err)
	}
	resp, frame := call(t, s, http.MethodGet, "getBlock?blockIndex=3&segment="+g.Name, "")
	if !bytes.Equal(frame, file[infos[3].FrameOffset():][:infos[3].Size]) || resp.Header.Get("Etag") != `"`+g.Checksum+`:3"` {
		t.Errorf("%d bytes, %v", len(frame), resp.Header)
	}
	for _, c := range []struct {
		method, target string
		status         int
		headers        []string
	}{
		{http.MethodHead, "getSegment?name=" + g.Name, 200, nil},
		{http.MethodHead, "getBlock?blockIndex=3&segment=" + g.Name, 200, nil},
		{http.MethodGet, "getSegment?name=" + g.Name, 206, []string{"Range", "bytes=0-255", "If-Match", `"` + g.Checksum + `"`}},
		{http.MethodGet, "getSegment?name=" + g.Name, 412, []string{"Range", "bytes=0-255", "If-Match", `"0000000000000000"`}},
		{http.MethodGet, "getSegment?name=" + g.Name, 304, []string{"If-None-Match", `"` + g.Checksum + `"`}},
		{http.MethodGet, "getSegment?name=" + g.Name, 416, []string{"Range", "bytes=99999999-"}},
		{http.MethodGet, "getSegment?name=x", 400, nil},
		{http.MethodGet, "getSegment?name=" + jss.Name(99), 404, nil},
		{http.MethodGet, "getBlock?blockIndex=99&segment=" + g.Name, 404, nil},
		{http.MethodGet, "getBlock?blockIndex=-1&segment=" + g.Name, 400, nil},
		{http.MethodGet, "listSegments?limit=0", 400, nil},
	} {
		if resp, body := call(t, s, c.method, c.target, "", c.headers...); resp.StatusCode != c.status || c.method == http.MethodHead && (len(body) > 0 || resp.Header.Get("Content-Length") == "") {
			t.Errorf("%s %s %q: %d, want %d; %v", c.method, c.target, c.headers, resp.StatusCode, c.status, resp.Header)
		}
	}
	var list struct {
		Cursor   string
		Segments []struct {
			Name      string
			SizeBytes int64
		}
	}
	_, body := call(t, s, http.MethodGet, "listSegments?limit=2", "")
	if err := json.Unmarshal(body, &list); err != nil || len(list.Segments) != 2 || list.Cursor == "" || list.Segments[1].SizeBytes != int64(len(file)) {
		t.Errorf("%s, %v", body, err)
	}
	resp, body = call(t, s, http.MethodGet, "listSegments?limit=5000&cursor="+list.Cursor, "")
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), jss.Name(4)) || strings.Contains(string(body), jss.Name(1)) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// A compaction leaves sequence numbers, deletions, markers and the numbers of blocks, and gives a
// changed segment another checksum.
func TestCompact(t *testing.T) {
	s := newSim(t, jetsim.Options{Backlog: 4000, Accounts: 30, Segment: 200, Block: 20, Syncs: true, Archive: &jetsim.ArchiveOptions{}})
	rows := func() (byKind map[jss.Kind]int, seqs map[uint64]bool, blocks int) {
		byKind, seqs = map[jss.Kind]int{}, map[uint64]bool{}
		d, err := jss.NewDecompressor(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for _, g := range plan(t, s, `{}`).Segments {
			_, file := call(t, s, http.MethodGet, "getSegment?name="+g.Name, "")
			h, err := jss.ParseHeader(file)
			if err != nil {
				t.Fatal(err)
			}
			infos, err := jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset])
			if err != nil {
				t.Fatal(err)
			}
			blocks += len(infos)
			for _, i := range infos {
				raw, err := d.Unpack(nil, file[i.FrameOffset():][:i.Size])
				if err != nil {
					t.Fatal(err)
				}
				b, err := jss.ParseBlock(raw)
				if err != nil {
					t.Fatal(err)
				}
				for row := (jss.Row{}); b.Next(&row); {
					byKind[row.Kind]++
					seqs[row.Seq] = true
				}
			}
		}
		return byKind, seqs, blocks
	}
	was, seqsBefore, blocksBefore := rows()
	old := plan(t, s, `{}`).Segments[0]
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	is, seqsAfter, blocksAfter := rows()
	for _, k := range []jss.Kind{jss.Delete, jss.Identity, jss.Account, jss.Sync} {
		if was[k] == 0 || is[k] != was[k] {
			t.Errorf("kind %d: %d before, %d after", k, was[k], is[k])
		}
	}
	if is[jss.Create] >= was[jss.Create] || is[jss.Update] >= was[jss.Update] || is[jss.Create] == 0 || blocksAfter != blocksBefore {
		t.Errorf("%v in %d blocks before, %v in %d after", was, blocksBefore, is, blocksAfter)
	}
	for seq := range seqsAfter {
		if !seqsBefore[seq] {
			t.Errorf("number %d is new", seq)
		}
	}
	if resp, _ := call(t, s, http.MethodGet, "getSegment?name="+old.Name, "", "If-Match", `"`+old.Checksum+`"`); resp.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("the old generation: %d", resp.StatusCode)
	}
	again, _, _ := rows()
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	if last, _, _ := rows(); fmt.Sprint(again) != fmt.Sprint(last) {
		t.Errorf("a second compaction: %v, then %v", again, last)
	}
}

func TestKeyAndQuotaOfAnArchive(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC))
	s := newSim(t, jetsim.Options{Backlog: 1000, Segment: 200, Block: 20, Clock: clock, Archive: &jetsim.ArchiveOptions{Key: "k", Quota: 10_000, QuotaEvery: time.Hour}})
	name := jss.Name(0)
	if resp, _ := call(t, s, http.MethodGet, "getSegment?name="+name, ""); resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("without a key: %d", resp.StatusCode)
	}
	get := func() *http.Response {
		resp, _ := call(t, s, http.MethodGet, "getSegment?name="+name, "", "Authorization", "Bearer k")
		return resp
	}
	if resp := get(); resp.StatusCode != http.StatusOK {
		t.Fatalf("with the key: %d", resp.StatusCode)
	}
	forms := map[string]bool{}
	for range 3 {
		resp := get()
		if resp.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("over the quota: %d", resp.StatusCode)
		}
		forms[resp.Header.Get("Retry-After")+resp.Header.Get("Ratelimit-Reset")] = true
	}
	if !forms["3600"] || len(forms) != 3 {
		t.Errorf("%v", forms)
	}
	clock.Advance(time.Hour)
	if resp := get(); resp.StatusCode != http.StatusOK {
		t.Errorf("in the next period: %d", resp.StatusCode)
	}
	if st := s.Stats(); st.Archive["getSegment"] != 6 || st.Archive["bytes"] == 0 {
		t.Errorf("%v", st.Archive)
	}
}

// The cut-over from the archive to the socket: the number is too old once, or always.
func TestCursorTooOldDuringTheCutOver(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 1000, Segment: 200, Block: 20, Archive: &jetsim.ArchiveOptions{}})
	dial := func() int {
		c, resp, err := websocket.Dial(t.Context(), s.URLv2()+"?cursor=900", nil)
		if err == nil {
			_ = c.CloseNow()
		}
		return resp.StatusCode
	}
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCursorTooOld}); err != nil {
		t.Fatal(err)
	}
	if first, second := dial(), dial(); first != http.StatusBadRequest || second != http.StatusSwitchingProtocols {
		t.Errorf("once: %d, then %d", first, second)
	}
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCursorTooOld, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if status := dial(); status != http.StatusBadRequest {
			t.Errorf("always: %d", status)
		}
	}
}

func TestArchiveOptions(t *testing.T) {
	for _, opt := range []jetsim.Options{
		{Legacy: true, Archive: &jetsim.ArchiveOptions{}},
		{Protocol: jetsim.ProtocolV1, Archive: &jetsim.ArchiveOptions{}},
		{Archive: &jetsim.ArchiveOptions{Quota: -1}},
		{Faults: []jetsim.Fault{{Name: jetsim.FaultCut}}},
	} {
		if s, err := jetsim.New(opt); err == nil {
			s.Close()
			t.Errorf("accepted: %+v", opt)
		}
	}
	s := newSim(t, jetsim.Options{Backlog: 10})
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCut}); err == nil {
		t.Error("a fault of an archive that there is not")
	}
	if err := s.Compact(); err == nil {
		t.Error("a compaction of an archive that there is not")
	}
	if resp, _ := get(t, s, http.MethodGet, archiveCalls+"listSegments"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without an archive: %d", resp.StatusCode)
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	a, err := jetsim.New(jetsim.Options{Backlog: 400, Segment: 200, Archive: &jetsim.ArchiveOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	plan(t, a, `{}`)
	if resp, _ := get(t, a, http.MethodPost, "/_sim/compact"); resp.StatusCode != http.StatusNoContent {
		t.Errorf("compact: %d", resp.StatusCode)
	}
	if resp, _ := get(t, a, http.MethodPost, "/_sim/fault/archive-cut:1h"); resp.StatusCode != http.StatusNoContent {
		t.Errorf("a fault: %d", resp.StatusCode)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the archive leaves %v, %v", left, err)
	}
}
