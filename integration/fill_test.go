package integration_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// A feed that begins with an archive is killed ten times on the way, the archive is compacted, and
// its quota is used up. In the end the stream has everything that an archive keeps, once and in
// order, and goes on behind it without a seam.
//
// TEMPESTD_TEST_FILL is the number of archived events; 5000000 takes minutes.
func TestI2_AFirstFillIsKilledTenTimes(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	archived := archivedEvents(t, affordable(40_000))
	sim := simulate(t, 500, "--archive", "--segment", strconv.Itoa(archived/40))
	sim.produceAll(archived)
	d := newDaemon(t, "ws://"+sim.addr, settings{
		"feeds." + feed + ".start":           `"archive"`,
		"feeds." + feed + ".retention.age":   `"0s"`,
		"feeds." + feed + ".retention.bytes": `"0B"`,
	})
	began := time.Now()
	var downloaded, total, planned int64
	met, waited := 0, false
	look := func() messages.FeedStatus {
		s := d.status()
		if f := s.Fill; f != nil {
			downloaded = max(downloaded, f.Bytes) // since this start
			planned = max(planned, f.PlannedBytes)
			waited = waited || strings.Contains(f.Why, "quota")
		}
		return s
	}
	last := sim.stats().NewestSeq
	d.start()
	d.await("daemon.ready")
	for kills := range int64(10) {
		goal := last * (kills + 1) / 12
		eventually(t, "the fill gets on", func() bool { return look().Position.Seq >= goal })
		after(between(random, 0, 20*time.Millisecond))
		if look().State == messages.StateFilling {
			met++
		}
		d.kill()
		total, downloaded = total+downloaded, 0
		switch kills {
		case 3:
			sim.control("POST", "compact").Body.Close()
		case 5:
			sim.inject("archive-quota:2s")
		}
		d.start()
		d.await("daemon.ready")
	}
	eventually(t, "the history is stored", func() bool {
		s := look()
		return s.State == messages.StateLive && s.LagMS < 1000 && s.Position.Seq >= last
	})
	took := time.Since(began)
	t.Logf("%d events in %v, %.0f/s; %d of ten kills met the fill, it waited for its quota: %v; %d bytes downloaded, %d planned at first; %s", archived,
		took.Round(time.Millisecond), float64(archived)/took.Seconds(), met, waited, total+downloaded, planned, memoryOf(d.process.cmd.Process.Pid))
	d.catchUp(sim)
	sameFold(t, d, sim)
}

// archivedEvents is the number of archived events, n unless TEMPESTD_TEST_FILL says another.
func archivedEvents(t testing.TB, n int) int {
	t.Helper()
	if text := os.Getenv("TEMPESTD_TEST_FILL"); text != "" {
		given, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		n = given
	}
	return n
}

// sameFold compares what remains of the stream's records with what remains of everything sent: a
// compaction may have taken what was overtaken, and nothing else. It checks that nothing is doubled
// and that times do not go back.
func sameFold(t *testing.T, d *daemon, sim *simulator) {
	t.Helper()
	report, err := sim.sent().Verify(d.entries(), jetsim.VerifyOptions{Protocol: jetsim.ProtocolV2, FromFirstStored: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Duplicated+report.OutOfOrder+report.Altered+report.Foreign+report.Gaps > 0 {
		t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
	}
	t.Logf("%v", report)
	all := newDaemon(t, "ws://"+sim.addr, settings{
		"feeds." + feed + ".start":           `"earliest"`,
		"feeds." + feed + ".retention.age":   `"0s"`,
		"feeds." + feed + ".retention.bytes": `"0B"`,
	})
	all.start()
	all.await("daemon.ready")
	newest := sim.stats().NewestSeq
	eventually(t, "everything that the socket has is stored", func() bool { return all.status().Position.Seq == newest })
	got, want := foldOf(t, d), foldOf(t, all)
	if len(got.records) != len(want.records) || got.markers != want.markers || got.deleted != want.deleted {
		t.Errorf("records of %d accounts, %d markers and %d deletions remain, want %d, %d and %d", len(got.records), got.markers, got.deleted,
			len(want.records), want.markers, want.deleted)
	}
	for account, records := range want.records {
		if !maps.Equal(got.records[account], records) {
			t.Fatalf("%s has %v, want %v", account, got.records[account], records)
		}
	}
}

// fold is what a stream comes to: each record's last CID, and how many markers and deletions there
// were. Deleted accounts and records are gone.
type fold struct {
	records          map[string]map[string]string // by account and path
	markers, deleted int
}

func foldOf(t *testing.T, d *daemon) fold {
	t.Helper()
	f := fold{records: map[string]map[string]string{}}
	for event, err := range d.entries() {
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			DID, Kind string
			Commit    struct{ Operation, Collection, RKey, CID string }
			Account   struct{ Status string }
		}
		if err := json.Unmarshal(event, &e); err != nil {
			t.Fatal(err)
		}
		path := e.Commit.Collection + "/" + e.Commit.RKey
		switch {
		case e.Kind != "commit":
			f.markers++
			if e.Account.Status == "deleted" {
				delete(f.records, e.DID)
			}
		case e.Commit.Operation == "delete":
			f.deleted++
			if delete(f.records[e.DID], path); len(f.records[e.DID]) == 0 {
				delete(f.records, e.DID)
			}
		default:
			if f.records[e.DID] == nil {
				f.records[e.DID] = map[string]string{}
			}
			f.records[e.DID][path] = e.Commit.CID
		}
	}
	return f
}

// memoryOf is the most memory that a process has held.
func memoryOf(pid int) string {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}

// One simulated network has a socket, an archive, and the accounts' own servers, which agree.
func TestASimulatedNetworkHasAccountsServers(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1000, "--accounts", "2")
	sim.produce(2000)
	var network map[string]string
	resp := sim.control("GET", "network")
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&network); err != nil || network["plc"] == "" || network["relay"] == "" || network["host1"] == "" {
		t.Fatalf("%v: %v", err, network)
	}
	d := newDaemon(t, "ws://"+sim.addr, settings{"feeds." + feed + ".start": `"earliest"`})
	d.startLive()
	d.awaitStored(2000)
	sim.stopProducing()
	for account, records := range foldOf(t, d).records {
		for path, cid := range records {
			collection, rkey, _ := strings.Cut(path, "/")
			found := false
			for _, host := range []string{"host0", "host1"} {
				u := network[host] + "/xrpc/com.atproto.repo.getRecord?" + url.Values{"repo": {account}, "collection": {collection}, "rkey": {rkey}}.Encode()
				found = found || strings.Contains(get(t, u), cid)
			}
			if !found {
				t.Fatalf("no server of an account has %s %s with the CID %s", account, path, cid)
			}
		}
		return // one account is enough
	}
	t.Error("no record is left")
}

// get returns the body of whatever answer there is.
func get(t *testing.T, u string) string {
	t.Helper()
	resp, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
