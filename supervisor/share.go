package supervisor

import (
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"tempestd/messages"
)

// shareView is what a daemon knows when it decides who is to own which feed. Daemons with the same view decide the same, without a word to each other; where
// their views differ the leases still say who owns what.
type shareView struct {
	Nodes   []messages.Node  // the daemons that are there
	Owners  []messages.Owner // of the streams that any of them may own
	Settled map[string]bool  // by node ID: it has been there for long enough to be given what another owns
}

// share says which node is to own each stream; there is no word of a stream that nobody may own.
//
// A stream stays with its owner, listed or not, while its lease lasts. One that has no owner goes to the daemon that has fewest, of those that may own
// it. And where one owner has at least two more than another daemon that may own one of its streams, that one is handed over: with a difference of
// one it would only be the other way round afterwards.
func share(v shareView) map[string]string {
	assigned := make(map[string]string, len(v.Owners))
	load := make(map[string]int, len(v.Nodes))
	var orphans []string
	for _, o := range v.Owners {
		if o.Node == "" {
			orphans = append(orphans, o.Stream)
			continue
		}
		assigned[o.Stream] = o.Node
		load[o.Node]++
	}
	slices.Sort(orphans)
	all := func(string) bool { return true }
	for _, stream := range orphans {
		if to := least(v.Nodes, load, stream, all); to != "" {
			assigned[stream] = to
			load[to]++
		}
	}
	settled := func(id string) bool { return v.Settled[id] }
	for streams := slices.Sorted(maps.Keys(assigned)); ; {
		greatest, moved, target := 1, "", ""
		for _, stream := range streams {
			if to := least(v.Nodes, load, stream, settled); to != "" && load[assigned[stream]]-load[to] > greatest {
				greatest, moved, target = load[assigned[stream]]-load[to], stream, to
			}
		}
		if moved == "" {
			return assigned
		}
		load[assigned[moved]]--
		load[target]++
		assigned[moved] = target
	}
}

// least is the node that has fewest streams, of the eligible ones that may own this one; "" when there is none. Of equals each stream has a favourite of its own.
func least(nodes []messages.Node, load map[string]int, stream string, eligible func(id string) bool) string {
	best, bestHash := "", uint64(0)
	for i := range nodes {
		n := &nodes[i]
		if !eligible(n.ID) || !slices.Contains(n.Streams, stream) {
			continue
		}
		hash := xxhash.Sum64String(stream + "\x00" + n.ID)
		if best == "" || load[n.ID] < load[best] || load[n.ID] == load[best] && hash < bestHash {
			best, bestHash = n.ID, hash
		}
	}
	return best
}

// standbys are the names of the nodes that may own the stream and do not.
func standbys(nodes []messages.Node, o messages.Owner) []string {
	var names []string
	for i := range nodes {
		if n := &nodes[i]; n.ID != o.Node && slices.Contains(n.Streams, o.Stream) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}
