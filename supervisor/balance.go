package supervisor

import (
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"tempestd/messages"
)

// view is what a daemon knows when it decides which daemon owns which feed. Daemons with the same
// view decide the same without any exchange. Where their views differ, the leases still decide who
// owns what.
type view struct {
	Nodes  []messages.Node  // the daemons that are announced
	Owners []messages.Owner // of the streams that any of them may own
	// Settled says, by node ID, which daemons have been there long enough to get a stream that
	// another one owns.
	Settled map[string]bool
}

// balance returns the node that should own each stream, by stream name. A stream that no node may
// own is left out.
//
// A stream stays with its owner, listed or not, while its lease lasts. A stream without an owner
// goes to the daemon with the fewest streams among those that may own it. If one owner has at least
// two more streams than another daemon that may own one of them, that stream moves. With a
// difference of one, the move would only swap the two.
func balance(v view) map[string]string {
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

// least is the node with the fewest streams among the eligible ones that may own the stream, "" for
// none. Between equals a hash decides, so that each stream has its own favourite.
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

// standbys returns the names of the nodes that may own the stream and do not.
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
