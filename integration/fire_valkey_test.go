package integration_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tempestd/internal/valkeytest"
)

// proxy is between a daemon and its server.
type proxy = *valkeytest.Proxy

// fireServer is the Valkey server of a world, with a replica where the schedule needs one.
type fireServer struct {
	w                *fireWorld
	primary, replica *valkeytest.Server
	proxies          []proxy
	down             bool // it was killed, or is frozen
	failing          bool // over to the replica
	failedOver       bool
}

const fireUser, firePassword = "fire", "extinguisher"

func newFireServer(w *fireWorld) *fireServer {
	f := &fireServer{w: w}
	opt := valkeytest.Options{AOF: "always", InMemory: true}
	if w.s.durability == "replicas" || slices.ContainsFunc(w.s.steps, func(s fireStep) bool { return s.kind == "failover" }) {
		f.primary, f.replica = valkeytest.Replicated(w.t, opt)
		f.allow(f.replica)
	} else {
		f.primary = valkeytest.Start(w.t, opt)
	}
	f.allow(f.primary)
	return f
}

// awaitReplica waits until the replica has what the primary has now. With nothing of the stream it
// would take its place as a server that never had one.
func (f *fireServer) awaitReplica() {
	if f.replica == nil {
		return
	}
	offset := func(s *valkeytest.Server, name string) (n int) {
		for line := range strings.Lines(s.CLI("INFO", "replication")) {
			if value, found := strings.CutPrefix(line, name+":"); found {
				n, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		return n
	}
	want := offset(f.primary, "master_repl_offset")
	f.replica.Await("it has the first entries", func() bool { return offset(f.replica, "slave_repl_offset") >= want })
}

// allow gives the daemons' user every permission.
func (f *fireServer) allow(s *valkeytest.Server) {
	f.w.t.Helper()
	s.CLI("ACL", "SETUSER", fireUser, "reset", "on", ">"+firePassword, "~*", "&*", "+@all")
}

// join configures a daemon.
func (f *fireServer) join(n *fireNode, i int) proxy {
	n.configure(onValkey(f.primary))
	p := valkeytest.NewProxy(f.w.t, f.primary.Addr)
	f.proxies = append(f.proxies, p)
	n.configure(settings{
		"valkey.addresses": "[" + quoted(p.Addr) + "]", "valkey.username": quoted(fireUser), "valkey.password": quoted(firePassword),
		"valkey.durability": quoted(f.w.s.durability), "ha.enabled": "true", "ha.name": quoted(fmt.Sprint("node", i)), "ha.lease_ttl": `"1500ms"`,
	})
	return p
}

// valkeyFault makes a fault of a method. A server that is down has no other fault.
func valkeyFault(begin func(*fireServer, fireStep) (end func())) func(*fireWorld, *fireNode, fireStep) (func(), bool) {
	return func(w *fireWorld, _ *fireNode, s fireStep) (func(), bool) {
		if w.store.down || s.kind == "failover" && (w.store.replica == nil || w.store.failing) {
			return nil, false
		}
		return begin(w.store, s), true
	}
}

func (f *fireServer) kill(fireStep) func() {
	f.down = true
	killed := f.primary
	killed.Kill()
	return func() {
		if f.primary != killed {
			return // a failover has started it again
		}
		killed.Restart()
		f.allow(killed)
		f.down = false
	}
}

func (f *fireServer) freeze(fireStep) func() {
	f.down = true
	frozen := f.primary
	frozen.Pause()
	return func() {
		if f.primary != frozen {
			return // a failover has killed it
		}
		frozen.Continue()
		f.down = false
	}
}

func (f *fireServer) pause(s fireStep) func() {
	f.primary.CLI("CLIENT", "PAUSE", fmt.Sprint(s.lasts.Milliseconds()), "ALL")
	return nil
}

func (f *fireServer) killClients(fireStep) func() {
	f.primary.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	return nil
}

func (f *fireServer) flushScripts(fireStep) func() {
	f.primary.CLI("SCRIPT", "FLUSH")
	return nil
}

func (f *fireServer) noMemory(fireStep) func() {
	f.primary.CLI("CONFIG", "SET", "maxmemory", "1")
	return func() { f.try("CONFIG", "SET", "maxmemory", "0") }
}

func (f *fireServer) forbid(s fireStep) func() {
	taken := []string{"-evalsha", "-xadd", "-hset", "-@write", "-xrange"}[int(s.lasts.Milliseconds())%5]
	f.primary.CLI("ACL", "SETUSER", fireUser, taken)
	return func() { f.try("ACL", "SETUSER", fireUser, "+@all") }
}

// try sends a command that ends a fault. A server that is down is restarted without the fault.
func (f *fireServer) try(args ...string) {
	if !f.down {
		_, _ = f.primary.TryCLI(args...)
	}
}

// failOver cuts the replica off, lets the primary work on alone, and then has the replica take its
// place. What the primary confirmed meanwhile is lost, unless the daemons wait for replicas.
func (f *fireServer) failOver(fireStep) func() {
	if f.failing = true; !f.failedOver {
		f.failedOver = true
		f.w.stats.add(func() { f.w.stats.failovers++ })
	}
	f.replica.Promote()
	return func() {
		f.primary.Kill()
		f.primary, f.replica = f.replica, f.primary
		for _, p := range f.proxies {
			p.LeadTo(f.primary.Addr)
		}
		f.replica.Restart()
		f.allow(f.replica)
		f.replica.Follow(f.primary)
		f.down, f.failing = false, false
	}
}
