package valkeytest

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Cluster starts a cluster of n primaries that share all slots.
func Cluster(tb testing.TB, opt Options, n int) []*Server {
	tb.Helper()
	opt.Args = append(slices.Clone(opt.Args), "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")
	nodes := make([]*Server, n)
	create := []string{"--cluster", "create"}
	for i := range nodes {
		s := newServer(tb, opt)
		s.run()
		s.awaitPing()
		nodes[i] = s
		create = append(create, s.Addr)
	}
	out, err := exec.Command(Program(tb, opt.Engine, "cli"), append(create, "--cluster-yes")...).CombinedOutput()
	if err != nil {
		tb.Fatalf("make the cluster: %v: %s", err, out)
	}
	for _, s := range nodes {
		s.Await("the cluster stands", func() bool {
			info, _ := s.TryCLI("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d", n))
		})
	}
	return nodes
}

// SentinelMaster is the name of the primary in the sentinels' configuration.
const SentinelMaster = "tempest"

// Pair is a primary and its replica, monitored by sentinels.
type Pair struct {
	Servers   [2]*Server // the first primary and the first replica
	Sentinels []*Server
}

// Replicated starts a primary and its replica.
func Replicated(tb testing.TB, opt Options) (primary, replica *Server) {
	tb.Helper()
	args := opt.Args
	opt.Args = append(slices.Clone(args), "--repl-diskless-sync-delay", "0")
	primary = Start(tb, opt)
	opt.Args = args
	replica = newServer(tb, opt)
	replica.leader = primary
	replica.run()
	replica.awaitPing()
	replica.Await("it follows the primary", func() bool { return strings.Contains(replica.CLI("INFO", "replication"), "master_link_status:up") })
	return primary, replica
}

// Promote makes a replica a primary, now and after restarts.
func (s *Server) Promote() {
	s.tb.Helper()
	s.CLI("REPLICAOF", "NO", "ONE")
	s.leader = nil
}

// Follow makes the server a replica of another one, now and after restarts.
func (s *Server) Follow(primary *Server) {
	s.tb.Helper()
	s.CLI("REPLICAOF", "127.0.0.1", fmt.Sprint(primary.port))
	s.leader = primary
}

// Sentinel starts a pair and two sentinels. They fail over when the primary has not answered for a
// second.
func Sentinel(tb testing.TB, opt Options) *Pair {
	tb.Helper()
	p := &Pair{}
	p.Servers[0], p.Servers[1] = Replicated(tb, opt)
	for range 2 {
		s := newServer(tb, Options{Engine: opt.Engine})
		s.mode = []string{s.writeFile("sentinel.conf", fmt.Sprintf(`sentinel monitor %[1]s 127.0.0.1 %[2]d 2
sentinel down-after-milliseconds %[1]s 1000
sentinel failover-timeout %[1]s 3000
sentinel parallel-syncs %[1]s 1
`, SentinelMaster, p.Servers[0].port)), "--sentinel"}
		s.run()
		s.awaitPing()
		p.Sentinels = append(p.Sentinels, s)
	}
	for _, s := range p.Sentinels {
		s.Await("the sentinels know each other and the replica", func() bool {
			out := s.CLI("SENTINEL", "MASTER", SentinelMaster)
			return strings.Contains(strings.Join(strings.Fields(out), " "), "num-other-sentinels 1") && strings.Contains(strings.Join(strings.Fields(out), " "), "num-slaves 1")
		})
	}
	return p
}

// Addresses returns the addresses of the sentinels.
func (p *Pair) Addresses() []string { return Addresses(p.Sentinels) }

// Primary returns the server that the sentinels name as primary now.
func (p *Pair) Primary() *Server {
	out := strings.Fields(p.Sentinels[0].CLI("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SentinelMaster))
	if len(out) == 2 && p.Servers[1].Addr == out[0]+":"+out[1] {
		return p.Servers[1]
	}
	return p.Servers[0]
}

// Addresses returns the addresses of the servers.
func Addresses(servers []*Server) []string {
	out := make([]string, len(servers))
	for i, s := range servers {
		out[i] = s.Addr
	}
	return out
}
