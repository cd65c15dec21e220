package valkey_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// put appends a batch to a stream whose server has a fault, and expects one of the reasons. Then it
// removes the fault and appends the same batch until that succeeds. The stream must then be what
// was sent.
func (s *sender) put(t *testing.T, stream persistence.Stream, reasons string, mend func()) {
	t.Helper()
	batch := s.batch(300)
	_, err := stream.Append(t.Context(), batch, messages.Checkpoint{})
	away, ok := errors.AsType[*persistence.UnavailableError](err)
	if !ok || !strings.Contains(reasons, away.Reason) || !persistence.Temporary(err) {
		t.Fatalf("error %v, want one for %s", err, reasons)
	}
	mend()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if tries, err := appendThrough(ctx, stream, batch); err != nil {
		t.Fatalf("%v after %d attempts", err, tries)
	}
	s.check(t, stream)
}

// Whatever a server answers instead of executing a command, and whatever happens to it, appends
// wait and are repeated. Nothing is lost and nothing is stored twice.
func TestI2_AppendsSurviveWhatBefallsTheServer(t *testing.T) {
	t.Parallel()
	// The server needs time to read its data, and answers commands meanwhile.
	server := valkeytest.Start(t, valkeytest.Options{AOF: "always", Args: []string{"--key-load-delay", "100", "--aof-use-rdb-preamble", "no", "--enable-debug-command", "local"}})
	proxy := valkeytest.NewProxy(t, server.Addr)
	v := openValkey(t, valkey.Options{Addresses: []string{proxy.Addr}, CommandTimeout: 2 * time.Second})
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	set := func(name, value string) { server.CLI("CONFIG", "SET", name, value) }

	t.Run("NOSCRIPT", func(t *testing.T) {
		for range 2 {
			server.CLI("SCRIPT", "FLUSH")
			if away, err := appendThrough(t.Context(), stream, send.batch(600)); err != nil || away > 0 {
				t.Fatalf("%d refusals, %v", away, err)
			}
			send.check(t, stream)
		}
	})
	t.Run("OOM", func(t *testing.T) {
		set("maxmemory", "1")
		send.put(t, stream, "full", func() { set("maxmemory", "0") })
	})
	t.Run("a policy that evicts", func(t *testing.T) {
		set("maxmemory-policy", "allkeys-lru")
		set("maxmemory", "1gb")
		if err := v.Health(); err == nil || persistence.Temporary(err) || !strings.Contains(err.Error(), "allkeys-lru; accepted: noeviction") {
			t.Errorf("the health of a server that evicts streams: %v", err)
		}
		set("maxmemory", "0")
		set("maxmemory-policy", "noeviction")
	})
	t.Run("READONLY", func(t *testing.T) {
		server.CLI("REPLICAOF", "127.0.0.1", "1")
		if away, ok := errors.AsType[*persistence.UnavailableError](v.Health()); !ok || away.Reason != "readonly" {
			t.Errorf("the health of a replica: %v", v.Health())
		}
		send.put(t, stream, "readonly", func() { server.CLI("REPLICAOF", "NO", "ONE") })
		if err := v.Health(); err != nil {
			t.Error(err)
		}
	})
	t.Run("MASTERDOWN", func(t *testing.T) {
		set("replica-serve-stale-data", "no")
		server.CLI("REPLICAOF", "127.0.0.1", "1")
		send.put(t, stream, "readonly", func() { server.CLI("REPLICAOF", "NO", "ONE") })
	})
	t.Run("NOREPLICAS", func(t *testing.T) {
		set("min-replicas-to-write", "1")
		send.put(t, stream, "readonly", func() { set("min-replicas-to-write", "0") })
	})
	t.Run("BUSY", func(t *testing.T) {
		set("busy-reply-threshold", "10")
		var script sync.WaitGroup
		script.Go(func() { _, _ = server.TryCLI("EVAL", "while true do end", "0") })
		server.Await("a script keeps it busy", func() bool {
			out, _ := server.TryCLI("PING")
			return strings.HasPrefix(out, "BUSY")
		})
		send.put(t, stream, "busy", func() { server.CLI("SCRIPT", "KILL") })
		script.Wait()
	})
	t.Run("NOPERM", func(t *testing.T) {
		server.CLI("ACL", "SETUSER", "default", "-evalsha")
		send.put(t, stream, "refused", func() { server.CLI("ACL", "SETUSER", "default", "+evalsha") })
	})
	t.Run("killed", func(t *testing.T) {
		server.Kill()
		send.put(t, stream, "connection timeout", server.Restart)
	})
	t.Run("paused", func(t *testing.T) {
		server.Pause()
		send.put(t, stream, "timeout connection", server.Continue)
	})
	t.Run("black-holed", func(t *testing.T) {
		proxy.BlackHole(true)
		send.put(t, stream, "timeout connection", func() { proxy.BlackHole(false); proxy.Cut() })
	})
	t.Run("restarted under a tail", func(t *testing.T) {
		last, err := stream.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		waiting := make(chan struct{})
		wg.Go(func() {
			close(waiting)
			for {
				page, err := stream.Tail(t.Context(), persistence.CursorAt(last.LastID), 20*time.Second, 10)
				if err != nil && !persistence.Temporary(err) || err == nil && len(page.Entries) != 1 {
					t.Errorf("a tail across a restart: %d entries, %v", len(page.Entries), err)
				}
				if err == nil {
					return
				}
			}
		})
		<-waiting
		server.Restart()
		if _, err := appendThrough(t.Context(), stream, send.batch(1)); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		send.check(t, stream)
	})
	t.Run("LOADING", func(t *testing.T) {
		server.CLI("DEBUG", "POPULATE", "16000")
		server.CLI("BGREWRITEAOF")
		server.Await("the log is written anew", func() bool {
			out := server.CLI("INFO", "persistence")
			return strings.Contains(out, "aof_rewrite_in_progress:0") && strings.Contains(out, "aof_rewrite_scheduled:0")
		})
		server.Relaunch()
		server.Await("it says that it reads its data", func() bool {
			away, ok := errors.AsType[*persistence.UnavailableError](v.Health())
			return ok && away.Reason == "loading"
		})
		send.put(t, stream, "loading connection timeout", func() {})
	})
}

// A server that cannot save a snapshot, or has no room for another client, refuses appends. Appends
// wait and are repeated.
func TestI2_AppendsSurviveAServerThatTurnsThemAway(t *testing.T) {
	t.Parallel()
	for _, engine := range []valkeytest.Engine{valkeytest.Valkey, valkeytest.Redis} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			server := valkeytest.Start(t, valkeytest.Options{Engine: engine})
			proxy := valkeytest.NewProxy(t, server.Addr)
			v := openValkey(t, valkey.Options{Addresses: []string{proxy.Addr}})
			stream, _ := openOwned(t, v, "a")
			send := newSender()
			if _, err := stream.Append(t.Context(), send.batch(300), messages.Checkpoint{}); err != nil {
				t.Fatal(err)
			}
			t.Run("MISCONF", func(t *testing.T) { misconf(t, server, stream, send) })
			t.Run("max number of clients reached", func(t *testing.T) { maxClients(t, server, proxy, v, stream, send) })
		})
	}
}

// misconf makes a snapshot fail: a directory that is not empty is in the place of its file.
func misconf(t *testing.T, server *valkeytest.Server, stream persistence.Stream, send *sender) {
	snapshot := func(status string) {
		server.CLI("BGSAVE")
		server.Await("a snapshot is "+status, func() bool {
			out := server.CLI("INFO", "persistence")
			return strings.Contains(out, "rdb_bgsave_in_progress:0") && strings.Contains(out, "rdb_last_bgsave_status:"+status)
		})
	}
	place := filepath.Join(server.Dir(), "dump.rdb")
	if err := os.MkdirAll(filepath.Join(place, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	server.CLI("CONFIG", "SET", "save", "3600 1000000")
	server.CLI("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
	snapshot("err")
	if out, _ := server.TryCLI("SET", "x", "y"); !strings.HasPrefix(out, "MISCONF") {
		t.Fatalf("the server answers a write with %q", out)
	}
	send.put(t, stream, "full", func() {
		if err := os.RemoveAll(place); err != nil {
			t.Fatal(err)
		}
		snapshot("ok")
	})
}

// maxClients cuts the store's connections and lets other clients take all places at the server.
func maxClients(t *testing.T, server *valkeytest.Server, proxy *valkeytest.Proxy, v *valkey.Store, stream persistence.Stream, send *sender) {
	server.CLI("CONFIG", "SET", "maxclients", "20")
	proxy.Cut()
	server.Await("the store's connections are gone", func() bool { return strings.Count(server.CLI("CLIENT", "LIST"), "name=tempestd") == 0 })
	var others []net.Conn
	leave := func() {
		for _, c := range others {
			c.Close()
		}
		others = nil
	}
	defer leave()
	for full := false; !full; {
		c, err := net.Dial("tcp", server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, c)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = c.Write([]byte("PING\r\n")) // the answer shows whether there was a place
		answer, err := bufio.NewReader(c).ReadString('\n')
		full = err != nil || strings.Contains(answer, "max number of clients")
	}
	server.Await("the store is told why", func() bool {
		away, ok := errors.AsType[*persistence.UnavailableError](v.Health())
		return ok && away.Reason == "busy"
	})
	send.put(t, stream, "busy connection", func() {
		leave()
		server.Await("there is room again", func() bool {
			out, _ := server.TryCLI("CONFIG", "SET", "maxclients", "10000")
			return out == "OK"
		})
	})
	if err := v.Health(); err != nil {
		t.Error(err)
	}
}

// If a server sends a message before it ends a connection, this message is the reported reason, and
// not the end of the connection.
func TestAServerThatTurnsConnectionsAwaySaysWhy(t *testing.T) {
	t.Parallel()
	for says, reason := range map[string]string{
		"-ERR max number of clients reached\r\n": "busy",
		"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.\r\n": "refused",
		"-DENIED " + strings.Repeat("x", 2000): "refused",
		"-LOADING it reads\r\n":                "connection", // an answer, and then the end
		"":                                     "connection",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 4096)) // without this read, the message may get lost
				_, _ = conn.Write([]byte(says))
				conn.Close()
			}
		})
		v := openValkey(t, valkey.Options{Addresses: []string{ln.Addr().String()}})
		away, ok := errors.AsType[*persistence.UnavailableError](v.Health())
		if !ok || away.Reason != reason || len(away.Error()) > 300 || reason != "connection" && !strings.Contains(away.Error(), says[1:min(len(says)-2, 40)]) {
			t.Errorf("%.40q is told as %v, want the reason %q", says, away, reason)
		}
		ln.Close()
		served.Wait()
	}
}

func TestI2_SentinelFailover(t *testing.T) {
	t.Parallel()
	pair := valkeytest.Sentinel(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: pair.Addresses(), SentinelMaster: valkeytest.SentinelMaster, CommandTimeout: time.Second})
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	if _, err := stream.Append(t.Context(), send.batch(300), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	primary := pair.Primary()
	primary.CLI("WAIT", "1", "5000")
	primary.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	away, err := appendThrough(ctx, stream, send.batch(300))
	if err != nil {
		t.Fatalf("%v after %d attempts", err, away)
	}
	if away == 0 {
		t.Error("no failover was needed")
	}
	pair.Sentinels[0].Await("the sentinels name the new primary, which takes appends before they do", func() bool { return pair.Primary() != primary })
	send.check(t, stream)
}

func TestI2_AppendsSurviveWhatBefallsACluster(t *testing.T) {
	t.Parallel()
	nodes := valkeytest.Cluster(t, valkeytest.Options{}, 3)
	v := openValkey(t, valkey.Options{Addresses: valkeytest.Addresses(nodes), CommandTimeout: time.Second})
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	if _, err := appendThrough(t.Context(), stream, send.batch(300)); err != nil {
		t.Fatal(err)
	}
	slot := nodes[0].CLI("CLUSTER", "KEYSLOT", "tempestd:{feed}")
	from := 0
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.CLI("CLUSTER", "MYID")
		if n.CLI("CLUSTER", "COUNTKEYSINSLOT", slot) != "0" {
			from = i
		}
	}
	to := (from + 1) % len(nodes)
	migrate := func(keys ...string) {
		host, port, _ := strings.Cut(nodes[to].Addr, ":")
		nodes[from].CLI(append([]string{"MIGRATE", host, port, "", "0", "5000", "KEYS"}, keys...)...)
	}
	t.Run("TRYAGAIN and MOVED", func(t *testing.T) {
		nodes[to].CLI("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from])
		nodes[from].CLI("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
		// When appends continue, the entries have been migrated and their bookkeeping has not.
		// Scripts over both must wait. GETKEYSINSLOT is not used to choose the first key, because
		// its order differs from run to run, and appends do not touch all keys.
		migrate("tempestd:{feed}")
		send.put(t, stream, "cluster", func() {
			migrate(strings.Fields(nodes[from].CLI("CLUSTER", "GETKEYSINSLOT", slot, "100"))...)
			for _, n := range nodes {
				n.CLI("CLUSTER", "SETSLOT", slot, "NODE", ids[to])
			}
		})
		if _, err := appendThrough(t.Context(), stream, send.batch(300)); err != nil {
			t.Fatal(err)
		}
		send.check(t, stream)
	})
	t.Run("CLUSTERDOWN", func(t *testing.T) {
		// A slot without an owner, taken from a node that does not hold the stream.
		other := nodes[(to+1)%len(nodes)]
		free := ""
		for line := range strings.Lines(other.CLI("CLUSTER", "NODES")) {
			if f := strings.Fields(line); strings.Contains(line, "myself") {
				free, _, _ = strings.Cut(f[8], "-")
			}
		}
		other.CLI("CLUSTER", "DELSLOTS", free)
		for _, n := range nodes {
			n.Await("the cluster is down", func() bool {
				_, _ = n.TryCLI("CLUSTER", "DELSLOTS", free)
				return strings.Contains(n.CLI("CLUSTER", "INFO"), "cluster_state:fail")
			})
		}
		send.put(t, stream, "cluster connection", func() { other.CLI("CLUSTER", "ADDSLOTS", free) })
	})
}
