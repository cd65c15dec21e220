package daemon_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/valkeytest"
	"tempestd/messages"
)

// bounds are the ends of a key's range, and the values just outside of them; "" means that there is
// none. F stands for a feed's table.
type bounds struct{ below, least, most, above string }

var ranges = map[string]bounds{
	"shutdown_timeout":                {`"999ms"`, `"1s"`, `"10m"`, `"601s"`},
	"http.max_tails":                  {`0`, `1`, `1_000_000`, `1_000_001`},
	"http.max_connections":            {`15`, `16`, `1_000_000`, `1_000_001`},
	"http.max_connections_per_client": {`0`, `1`, `1_000_000`, `1_000_001`},
	"http.memory":                     {`"16777215B"`, `"16MiB"`, `"1TiB"`, `"1025GiB"`},
	"http.max_tails_per_client":       {`0`, `1`, `1_000_000`, `1_000_001`},
	"http.allowed_hosts":              {``, `[]`, list(64, `"h%d.example"`), list(65, `"h%d.example"`)},
	"http.trusted_proxies":            {``, `[]`, list(64, `"192.0.2.%d"`), list(65, `"192.0.2.%d"`)},
	"http.allowed_origins":            {``, `[]`, list(64, `"https://h%d.example"`), list(65, `"https://h%d.example"`)},
	"stream.sync_interval":            {`"9ms"`, `"10ms"`, `"1m"`, `"61s"`},
	"stream.min_free":                 {`"16777215B"`, `"16MiB"`, `"1TiB"`, `"1025GiB"`},
	"valkey.addresses":                {`[]`, ``, ``, list(65, `"127.0.0.1:%d"`)},
	"valkey.database":                 {`-1`, `0`, `65_535`, `65_536`},
	"valkey.prefix":                   {`""`, `"t"`, `"` + strings.Repeat("t", 64) + `"`, `"` + strings.Repeat("t", 65) + `"`},
	"valkey.replicas":                 {`0`, ``, ``, `17`},
	"valkey.connect_timeout":          {`"99ms"`, `"100ms"`, `"1m"`, `"61s"`},
	"valkey.command_timeout":          {`"99ms"`, `"100ms"`, `"1m"`, `"61s"`},
	"valkey.fields":                   {``, `[]`, `["did", "kind", "collection", "time_us"]`, ``},
	"ha.lease_ttl":                    {`"499ms"`, `"500ms"`, `"10m"`, `"601s"`},
	"ha.renew_every":                  {`"99ms"`, `"100ms"`, `"5m"`, `"301s"`},
	"F.endpoints":                     {`[]`, ``, ``, list(17, `"h%d.example"`)},
	"F.kinds":                         {``, `[]`, `["commit", "identity", "account", "sync"]`, ``},
	"F.collections":                   {``, `[]`, list(10_000, `"app.bsky.x%d.*"`), list(10_001, `"app.bsky.x%d.*"`)},
	"F.dids":                          {``, `[]`, ``, ``},
	"F.backoff":                       {`["9ms"]`, `["10ms"]`, "[" + strings.Repeat(`"1h",`, 32) + "]", "[" + strings.Repeat(`"1h",`, 33) + "]"},
	"F.replay_window":                 {`"59s"`, `"1m"`, `"30d"`, `"31d"`},
	"F.rewind":                        {``, `"0s"`, `"1h"`, `"3601s"`},
	"F.dedupe_horizon.entries":        {`999`, `1_000`, `100_000_000`, `100_000_001`},
	"F.dedupe_horizon.age":            {`"59s"`, `"1m"`, `"30d"`, `"31d"`},
	"F.checkpoint_interval":           {`"99ms"`, `"100ms"`, `"10m"`, `"601s"`},
	"F.stale_after":                   {`"499ms"`, `"500ms"`, `"7d"`, `"8d"`},
	"F.blind_after":                   {`"9s"`, `"10s"`, `"30d"`, `"31d"`},
	"F.ping_interval":                 {`"99ms"`, `"100ms"`, `"10m"`, `"601s"`},
	"F.max_message_size":              {`"65535B"`, `"64KiB"`, `"16MiB"`, `"16777217B"`},
	"F.batch_events":                  {`0`, `1`, `65_536`, `65_537`},
	"F.batch_bytes":                   {`"65535B"`, `"64KiB"`, `"64MiB"`, `"67108865B"`},
	"F.batch_delay":                   {``, `"0s"`, `"10s"`, `"10001ms"`},
	"F.retention.age":                 {`"59s"`, `"1m"`, `"3650d"`, `"3651d"`},
	"F.retention.bytes":               {`"1048575B"`, `"1MiB"`, `"1024TiB"`, `"1025TiB"`},
	"F.repair_budget":                 {`"1048575B"`, `"1MiB"`, `"1024TiB"`, `"1025TiB"`},
	"F.repair_pace":                   {`-1`, `0`, `1_000_000`, `1_000_001`},
	"F.account.refresh":               {`"59s"`, `"1m"`, `"7d"`, `"8d"`},
	"F.retention.entries":             {`-1`, `1`, `1_000_000_000_000`, `1_000_000_000_001`},
}

// unbounded lists the keys whose values are words, names, files and secrets.
var unbounded = []string{"data_dir", "log.level", "log.format", "http.listen", "http.control_socket", "http.tls_cert_file", "http.tls_key_file", "metrics.listen", "http.token", "http.token_file", "http.read_token", "http.read_token_file", "http.default_stream", "stream.backend", "stream.sync",
	"valkey.mode", "valkey.sentinel_master", "valkey.username", "valkey.password", "valkey.password_file", "valkey.sentinel_username", "valkey.sentinel_password",
	"valkey.sentinel_password_file", "valkey.tls", "valkey.tls_ca_file", "valkey.tls_cert_file", "valkey.tls_key_file", "valkey.tls_server_name", "valkey.durability", "ha.enabled", "ha.name", "ha.candidate",
	"F.protocol", "F.compress", "F.zstd_dictionary", "F.raw", "F.dids_file", "F.dedupe",
	"F.account.identifier", "F.account.password_file", "F.account.follows", "network.plc", "network.relay", "network.local",
	"F.gap_policy", "F.repair_sources", "F.start", "repair"}

// list returns an array of n different values.
func list(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i+1)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func TestEveryKeyWithARangeIsTriedAtItsEnds(t *testing.T) {
	text, err := os.ReadFile("../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	header, setting, field := regexp.MustCompile(`^\[(.*)\]$`), regexp.MustCompile(`^#?([a-z_]+) = (.*)$`), regexp.MustCompile(`([a-z_]+) = `)
	var known []string
	prefix := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if m := header.FindStringSubmatch(line); m != nil {
			prefix = strings.Replace(m[1], "feeds.bluesky", "F", 1) + "."
		}
		m := setting.FindStringSubmatch(line)
		switch {
		case m == nil:
		case strings.HasPrefix(m[2], "{"):
			for _, f := range field.FindAllStringSubmatch(m[2], -1) {
				known = append(known, prefix+m[1]+"."+f[1])
			}
		default:
			known = append(known, prefix+m[1])
		}
	}
	tried := append(slices.Collect(maps.Keys(ranges)), unbounded...)
	slices.Sort(known)
	slices.Sort(tried)
	if !slices.Equal(known, tried) {
		t.Errorf("the keys are\n%q, those that are tried\n%q", known, tried)
	}
}

// limited returns the text of a configuration with those values.
func limited(values map[string]string) string {
	lines := []string{}
	for key, value := range values {
		lines = append(lines, strings.Replace(key, "F.", "feeds.sky.", 1)+" = "+value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// loadLimited loads a configuration with those values.
func loadLimited(t *testing.T, values map[string]string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(limited(values)), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, os.LookupEnv)
}

func TestWhatLiesBeyondARangeIsRefused(t *testing.T) {
	for key, b := range ranges {
		for _, value := range []string{b.below, b.above} {
			if value == "" {
				continue
			}
			values := map[string]string{"F.endpoints": `["h.example"]`, key: value}
			if strings.HasPrefix(key, "valkey.") || strings.HasPrefix(key, "ha.") {
				values["stream.backend"] = `"valkey"`
				if key != "valkey.addresses" {
					values["valkey.addresses"] = `["127.0.0.1:6379"]`
				}
			}
			if cfg, err := loadLimited(t, values); err == nil || !strings.Contains(err.Error(), strings.Replace(key, "F.", "feeds.sky.", 1)) {
				t.Errorf("%s = %.60s gives %v, %v", key, value, cfg, err)
			}
		}
	}
}

// The daemon runs with every value that the configuration accepts: with every key at its least
// value, with every key at its greatest value, and with the combinations in which one value hides
// others.
func TestEveryLimitIsOneThatTheEngineTakes(t *testing.T) {
	at := func(end func(bounds) string, prefix ...string) map[string]string {
		values := map[string]string{}
		for key, b := range ranges {
			if value := end(b); value != "" && slices.ContainsFunc(prefix, func(p string) bool { return strings.HasPrefix(key, p) }) {
				values[key] = value
			}
		}
		return values
	}
	least, most := func(b bounds) string { return b.least }, func(b bounds) string { return b.most }
	own := []string{"shutdown", "http.", "stream.", "F."}
	shared := append([]string{"valkey.", "ha."}, own...)
	for name, c := range map[string]struct {
		values map[string]string
		events int64
		valkey bool
	}{
		"all at their least":            {at(least, own...), 300, false},
		"all at their most":             {without(at(most, own...), "stream.min_free", "F.collections"), 3000, false},
		"most batch bytes":              {map[string]string{"F.batch_bytes": `"64MiB"`, "F.batch_events": "65_536", "F.batch_delay": `"10s"`}, 67_000, false},
		"least batch bytes":             {map[string]string{"F.batch_bytes": `"64KiB"`, "F.batch_events": "65_536", "F.batch_delay": `"10s"`}, 3000, false},
		"most collections":              {map[string]string{"F.collections": strings.Replace(ranges["F.collections"].most, "app.bsky.x10000.*", "app.bsky.feed.*", 1)}, 3000, false},
		"synced by interval":            {map[string]string{"stream.sync": `"interval"`, "stream.sync_interval": `"10ms"`}, 3000, false},
		"synced seldom":                 {map[string]string{"stream.sync": `"interval"`, "stream.sync_interval": `"1m"`}, 3000, false},
		"all at their least, on Valkey": {at(least, shared...), 300, true},
		"all at their most, on Valkey":  {without(at(most, shared...), "stream.min_free", "F.collections"), 3000, true},
		"most batch bytes, on Valkey":   {map[string]string{"F.batch_bytes": `"64MiB"`, "F.batch_events": "65_536", "F.batch_delay": `"10s"`}, 67_000, true},
	} {
		if raceEnabled && c.events > 10_000 {
			continue // make week has them
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, err := jetsim.New(jetsim.Options{Accounts: 2000, Backlog: 10})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = sim.Close() })
			if err := sim.Listen("127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			values := maps.Clone(c.values)
			values["data_dir"] = fmt.Sprintf("%q", filepath.Join(t.TempDir(), "data"))
			values["http.listen"] = `"127.0.0.1:0"`
			values["F.endpoints"] = fmt.Sprintf("[%q]", sim.URL())
			setDefault(values, "stream.min_free", `"16MiB"`)
			if c.valkey {
				server := valkeytest.Start(t, valkeytest.Options{Args: []string{"--databases", "65536"}})
				values["stream.backend"], values["valkey.addresses"] = `"valkey"`, fmt.Sprintf("[%q]", server.Addr)
				if values["ha.lease_ttl"] != "" {
					values["ha.enabled"] = "true"
				}
			}
			cfg, err := loadLimited(t, values)
			if err != nil {
				t.Fatal(err)
			}
			d := start(t, cfg)
			live := func() messages.FeedStatus {
				return await(t, d, "the feed is live", func(s messages.FeedStatus) bool { return s.State == messages.StateLive })
			}
			before := live().Stored
			sim.Produce(c.events)
			wanted := c.events
			if c.values["F.collections"] != "" && c.values["F.collections"] != "[]" {
				wanted /= 2 // only a part of the events has these collections
			}
			s := await(t, d, "everything is stored", func(s messages.FeedStatus) bool {
				return s.Stored >= before+uint64(wanted) || s.State == messages.StateFailed
			})
			if s.State == messages.StateFailed || s.Restarts > 0 {
				t.Errorf("%d of %d events are stored, with %d restarts; the feed is %s: %s", s.Stored, c.events, s.Restarts, s.State, s.Reason)
			}
			d.finish(t)
			if bad := slices.DeleteFunc(d.log.of(""), func(name string) bool {
				return name != "actor.failed" && name != "actor.gave_up" && name != "http.panic" && name != "daemon.failed"
			}); len(bad) > 0 {
				t.Errorf("the log has %v", bad)
			}
		})
	}
}

// A batch of the greatest size is stored, also when its events cannot be compressed.
func TestTheMostBytesOfABatchAreStored(t *testing.T) {
	if raceEnabled {
		t.Skip("make week runs it")
	}
	const events, size = 68, 1_000_000
	random := make([]byte, size*3/4)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		source := rand.NewChaCha8([32]byte{1})
		us := time.Now().UnixMicro()
		for i := range events {
			_, _ = source.Read(random)
			event := fmt.Sprintf(`{"did":"did:plc:%d","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"app.bsky.feed.post","rkey":"k","record":{"text":%q}}}`,
				i, us+int64(i), i+1, i, base64.StdEncoding.EncodeToString(random))
			if err := conn.Write(r.Context(), websocket.MessageText, []byte(event)); err != nil {
				return
			}
		}
		<-conn.CloseRead(r.Context()).Done()
	}))
	defer upstream.Close()
	cfg, err := loadLimited(t, map[string]string{"data_dir": fmt.Sprintf("%q", filepath.Join(t.TempDir(), "data")), "http.listen": `"127.0.0.1:0"`, "stream.min_free": `"16MiB"`,
		"F.endpoints": fmt.Sprintf("[%q]", strings.Replace(upstream.URL, "http", "ws", 1)+"/subscribe"), "F.batch_bytes": `"64MiB"`, "F.batch_delay": `"10s"`})
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, cfg)
	s := await(t, d, "everything is stored", func(s messages.FeedStatus) bool { return s.Stored >= events || s.Restarts > 0 })
	if s.Restarts > 0 {
		t.Errorf("%d restarts, with %d stored: %s", s.Restarts, s.Stored, s.Reason)
	}
	d.finish(t)
}

func setDefault(values map[string]string, key, value string) {
	if values[key] == "" {
		values[key] = value
	}
}

func without(values map[string]string, keys ...string) map[string]string {
	for _, key := range keys {
		delete(values, key)
	}
	return values
}

// await waits until so accepts the feed's status.
func await(t *testing.T, d *running, what string, so func(messages.FeedStatus) bool) (s messages.FeedStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		now, err := d.Feed(ctx, "sky")
		if err == nil {
			if s = now; so(s) {
				return s
			}
		} else if api, ok := errors.AsType[*client.APIError](err); (!ok || api.Name != "NoAnswer") && ctx.Err() == nil {
			// NoAnswer is no failure, because a busy machine may take longer to answer.
			t.Fatal(err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: not so; the feed is %s: %s, with %d stored and %d restarts", what, s.State, s.Reason, s.Stored, s.Restarts)
		}
	}
}

// A feed may have a million accounts, the most that are permitted, from a file. Events of other
// accounts are not stored.
func TestTheMostAccountsAFeedMayBeAbout(t *testing.T) {
	sim, err := jetsim.New(jetsim.Options{Accounts: 100, Backlog: 400})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(t.Context(), sim.URL()+"?cursor=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	dids := map[string]bool{}
	for range 400 {
		_, b, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ DID string }
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		dids[e.DID] = true
	}
	_ = conn.CloseNow()
	var file strings.Builder
	for did := range dids {
		fmt.Fprintln(&file, did)
	}
	most := 1_000_000
	if raceEnabled {
		most /= 20 // make week has them all
	}
	for i := range most - len(dids) {
		fmt.Fprintf(&file, "did:web:h%d.example\n", i)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dids"), []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadLimited(t, map[string]string{"data_dir": fmt.Sprintf("%q", filepath.Join(dir, "data")), "http.listen": `"127.0.0.1:0"`, "stream.min_free": `"16MiB"`,
		"F.endpoints": fmt.Sprintf("[%q]", sim.URL()), "F.dids_file": fmt.Sprintf("%q", filepath.Join(dir, "dids"))})
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, cfg)
	await(t, d, "the feed is live", func(s messages.FeedStatus) bool { return s.State == messages.StateLive })
	sim.Produce(1000)
	await(t, d, "what is wanted is stored", func(s messages.FeedStatus) bool { return s.Stored > 500 })
	d.finish(t)
}
