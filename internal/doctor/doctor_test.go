package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/valkeytest"
	"tempestd/persistence/valkey"
)

func TestMain(m *testing.M) {
	// The client library's calls that wait for one another end on their own.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"))
}

// load returns a configuration of that text, whose data are in a new directory.
func load(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, func(name string) (string, bool) { return map[string]string{"HOME": dir}[name], true })
}

// sim returns the handler of a simulated server.
func sim(t *testing.T, opt jetsim.Options) http.Handler {
	t.Helper()
	s, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Handler()
}

// expect fails the test unless the report has a check with each of the texts "name level detail".
func expect(t *testing.T, r Report, want ...string) {
	t.Helper()
	var all strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&all, "%s %s %s: %s\n", c.Name, c.Level, c.Subject, c.Detail)
	}
	for _, w := range want {
		name, part, _ := strings.Cut(w, "…")
		found := false
		for line := range strings.Lines(all.String()) {
			found = found || strings.HasPrefix(line, name) && strings.Contains(line, part)
		}
		if !found {
			t.Errorf("no %q in\n%s", w, &all)
		}
	}
}

func TestEveryEndpointIsAskedAndTheReasonIsTold(t *testing.T) {
	good := httptest.NewServer(sim(t, jetsim.Options{}))
	defer good.Close()
	ahead := httptest.NewServer(sim(t, jetsim.Options{Skew: time.Hour}))
	defer ahead.Close()
	secure := httptest.NewTLSServer(sim(t, jetsim.Options{}))
	defer secure.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not for you", http.StatusForbidden) }))
	defer refusing.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	host := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	cfg, err := load(t, fmt.Sprintf("[http]\nlisten = %q\n[feeds.sky]\nprotocol = \"v2\"\nendpoints = [\"ws://%s\", \"ws://%s\", \"wss://%s\", \"ws://%s\", \"ws://%s\", \"ws://nowhere.example\"]\n",
		host(good), host(good), host(ahead), host(secure), host(refusing), dead))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	told := 0
	r := Examine(t.Context(), cfg, nil, Options{Clock: clockwork.NewRealClock(), TLS: &tls.Config{RootCAs: roots}, Told: func(Check) { told++ },
		Resolve: func(_ context.Context, name string) ([]string, error) {
			if name == "nowhere.example" {
				return nil, &net.DNSError{Name: name, IsNotFound: true}
			}
			return []string{name}, nil
		}})
	expect(t, r, "permissions ok", "disk …free", "limits ", "port failure …another program has it",
		"dns ok 127.0.0.1", "dns failure nowhere.example…there is no such name",
		"handshake ok ws://"+host(good)+"…v2", "clock ok "+host(good), "handshake ok ws://"+host(ahead), "clock warning "+host(ahead)+"…ahead of ours",
		"tls ok "+host(secure)+"…certificate valid until", "handshake ok wss://"+host(secure)+"…v2",
		"handshake failure ws://"+host(refusing)+"…refused with 403 Forbidden: not for you", "handshake failure ws://"+dead+"…refused")
	if r.OK || told != len(r.Checks) || r.Count(Failure) != 4 {
		t.Errorf("ok %v, told %d of %d, %d failures", r.OK, told, len(r.Checks), r.Count(Failure))
	}
}

func TestAnInvalidConfigurationIsEverythingThatIsTold(t *testing.T) {
	_, err := load(t, "shutdown_timeout = 5\nfrob = 1\n")
	r := Examine(t.Context(), nil, err, Options{Clock: clockwork.NewRealClock()})
	expect(t, r, "configuration failure …shutdown_timeout", "configuration failure …frob")
	r = Examine(t.Context(), nil, errors.New("no such file"), Options{Clock: clockwork.NewRealClock()})
	expect(t, r, "configuration failure : no such file")
}

func TestTheRoundTripDoesNotCountAsAClockThatIsWrong(t *testing.T) {
	at := func(s float64) time.Time { return time.UnixMilli(1_800_000_000_000 + int64(s*1000)) }
	for _, c := range []struct {
		date, asked, answered, want float64 // seconds
	}{
		{100, 100.2, 100.3, 0}, {100, 100.9, 100.95, 0}, {101, 100.9, 101.1, 0}, // the Date is cut to the second
		{104, 100, 105, 0}, {100, 100.5, 109, 0}, // it came at some time within a long round trip
		{110, 100, 105, 5}, {90, 100, 101, -9}, {3700, 100.4, 100.5, 3599.5},
	} {
		if got := Offset(at(c.date), at(c.asked), at(c.answered)); got != time.Duration(c.want*float64(time.Second)) {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestTheDiskIsComparedWithWhatIsKept(t *testing.T) {
	const gib = 1 << 30
	cfg, err := load(t, "[stream]\nmin_free = \"1GiB\"\n[feeds.a]\nendpoints = [\"x.example\"]\n[feeds.b]\nendpoints = [\"y.example\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		free, total uint64
		level       Level
		part        string
	}{
		{50 * gib, 100 * gib, OK, "keep up to 40 GiB"}, {30 * gib, 40 * gib, Warning, "lower retention.bytes"}, {gib / 2, 100 * gib, Failure, "less than stream.min_free"},
	} {
		if level, detail := space(cfg, c.free, c.total); level != c.level || !strings.Contains(detail, c.part) {
			t.Errorf("%+v: %s %s", c, level, detail)
		}
	}
	cfg.Feeds[0].Retention.Bytes = 0
	if level, detail := space(cfg, 50*gib, 100*gib); level != OK || !strings.Contains(detail, "no retention.bytes") {
		t.Errorf("%s %s", level, detail)
	}
}

func TestWhatAServerTellsAboutItself(t *testing.T) {
	const gib = 1 << 30
	good := valkey.Facts{Version: "Valkey 8.0", Policy: "noeviction", Used: gib, MaxMemory: 64 * gib, AOF: true, Fsync: "everysec"}
	for name, c := range map[string]struct {
		change     func(*valkey.Facts)
		durability string
		want       string
	}{
		"good":       {func(*valkey.Facts) {}, valkey.DurabilityAOF, "valkey durability ok …everysec"},
		"no limit":   {func(f *valkey.Facts) { f.MaxMemory = 0 }, valkey.DurabilityAOF, "valkey memory warning …not set"},
		"too little": {func(f *valkey.Facts) { f.MaxMemory = gib }, valkey.DurabilityAOF, "valkey memory warning …keep up to 20 GiB"},
		"evicts":     {func(f *valkey.Facts) { f.Policy = "volatile-lru" }, valkey.DurabilityAOF, "valkey eviction warning …volatile-lru"},
		"no AOF":     {func(f *valkey.Facts) { f.AOF = false }, valkey.DurabilityMemory, "valkey durability warning …no append-only file"},
		"AOF wanted": {func(f *valkey.Facts) { f.AOF = false }, valkey.DurabilityAOF, "valkey durability failure …appendonly"},
		"no fsync":   {func(f *valkey.Facts) { f.Fsync = "no" }, valkey.DurabilityAOF, "valkey durability warning …the system decides"},
		"hidden":     {func(f *valkey.Facts) { f.Fsync = "" }, valkey.DurabilityAOF, "valkey durability ok …may not ask"},
	} {
		t.Run(name, func(t *testing.T) {
			facts := good
			c.change(&facts)
			expect(t, Report{Checks: judge(facts, 20*gib, c.durability)}, c.want)
		})
	}
}

func TestTheServerOfTheStreamsIsAsked(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Options{})
	server.CLI("ACL", "SETUSER", "poor", "on", ">secret-of-poor", "~tempestd:*", "+@all", "-xadd")
	cfg, err := load(t, fmt.Sprintf("[http]\nlisten = \"\"\n[stream]\nbackend = \"valkey\"\n[valkey]\naddresses = [%q]\n[feeds.sky]\nendpoints = [\"ws://127.0.0.1:1\"]\n", server.Addr))
	if err != nil {
		t.Fatal(err)
	}
	r := Examine(t.Context(), cfg, nil, Options{Clock: clockwork.NewRealClock()})
	expect(t, r, "valkey ok", "valkey version ok", "valkey memory ", "valkey eviction ok", "valkey durability ")
	cfg.Valkey.Username, cfg.Valkey.Password = "poor", config.NewSecret("secret-of-poor")
	r = Examine(t.Context(), cfg, nil, Options{Clock: clockwork.NewRealClock()})
	expect(t, r, "valkey failure …may not run XADD")
	cfg.Valkey.Addresses = []string{"127.0.0.1:1"}
	r = Examine(t.Context(), cfg, nil, Options{Clock: clockwork.NewRealClock()})
	expect(t, r, "valkey failure 127.0.0.1:1")
	for _, c := range r.Checks {
		if strings.Contains(c.Detail, "secret-of-poor") {
			t.Errorf("a secret is shown: %s", c.Detail)
		}
	}
}

// A command that root ran with an older version may have left files that the daemon's user cannot
// open.
func TestFilesOfAnotherUserAreNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		return // nobody else can give files away
	}
	dir := t.TempDir()
	cfg, err := load(t, fmt.Sprintf("data_dir = %q\n[http]\nlisten = \"\"\n[feeds.sky]\nendpoints = [\"ws://127.0.0.1:1\"]\n", dir))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "roots"), nil, 0o600)
	}
	if err == nil {
		err = os.Chown(dir, 65534, 65534)
	}
	if err != nil {
		t.Fatal(err)
	}
	expect(t, Examine(t.Context(), cfg, nil, Options{Clock: clockwork.NewRealClock()}), `permissions failure …1 of its files belong to another user than the directory, "roots" first`)
}
