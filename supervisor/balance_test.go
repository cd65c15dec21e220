package supervisor

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tempestd/messages"
)

// viewOf makes a view in which every daemon has settled and may own every stream. owners is by
// stream, "" for none.
func viewOf(nodes []string, owners map[string]string) view {
	v := view{Settled: map[string]bool{}}
	streams := slices.Sorted(maps.Keys(owners))
	for _, id := range nodes {
		v.Nodes = append(v.Nodes, messages.Node{ID: id, Streams: streams})
		v.Settled[id] = true
	}
	for _, s := range streams {
		v.Owners = append(v.Owners, messages.Owner{Stream: s, Node: owners[s]})
	}
	return v
}

func loads(assigned map[string]string) map[string]int {
	n := map[string]int{}
	for _, node := range assigned {
		n[node]++
	}
	return n
}

func TestShare(t *testing.T) {
	for name, test := range map[string]struct {
		view view
		want map[string]int // how many streams each node gets
	}{
		"alone":                      {viewOf([]string{"a"}, map[string]string{"x": "", "y": "a"}), map[string]int{"a": 2}},
		"nobody is there":            {viewOf(nil, map[string]string{"x": ""}), map[string]int{}},
		"orphans go round":           {viewOf([]string{"a", "b"}, map[string]string{"x": "", "y": "", "z": "", "w": ""}), map[string]int{"a": 2, "b": 2}},
		"a newcomer gets its share":  {viewOf([]string{"a", "b"}, map[string]string{"x": "a", "y": "a", "z": "a", "w": "a"}), map[string]int{"a": 2, "b": 2}},
		"one feed stays":             {viewOf([]string{"a", "b"}, map[string]string{"x": "a"}), map[string]int{"a": 1}},
		"three feeds stay two to 1":  {viewOf([]string{"a", "b"}, map[string]string{"x": "a", "y": "a", "z": "b"}), map[string]int{"a": 2, "b": 1}},
		"an owner that is not there": {viewOf([]string{"b"}, map[string]string{"x": "a", "y": "b"}), map[string]int{"a": 1, "b": 1}},
	} {
		if got := loads(balance(test.view)); !maps.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestShareWaitsUntilANewcomerHasSettled(t *testing.T) {
	v := viewOf([]string{"a", "b"}, map[string]string{"x": "a", "y": "a", "z": ""})
	v.Settled["b"] = false
	if got := balance(v); got["x"] != "a" || got["y"] != "a" || got["z"] != "b" {
		t.Errorf("got %v, want the orphan alone to go to b", got)
	}
}

func TestShareGivesNoStreamToWhomItIsNotConfigured(t *testing.T) {
	v := viewOf([]string{"a", "b"}, map[string]string{"x": "a", "y": "a", "z": "a"})
	v.Nodes[1].Streams = []string{"z"}
	if got := balance(v); got["x"] != "a" || got["y"] != "a" || got["z"] != "b" {
		t.Errorf("got %v", got)
	}
}

func TestShareIsFairStableAndFrugal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []string
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			nodes = append(nodes, fmt.Sprintf("node-%d", i))
		}
		owners := map[string]string{}
		for i := range rapid.IntRange(0, 40).Draw(t, "streams") {
			owners[fmt.Sprintf("stream-%d", i)] = rapid.SampledFrom(append(nodes, "")).Draw(t, "owner")
		}
		v := viewOf(nodes, owners)
		assigned := balance(v)

		least, most := len(owners), 0
		got := loads(assigned)
		for _, n := range nodes {
			least, most = min(least, got[n]), max(most, got[n])
		}
		if len(assigned) != len(owners) || most-least > 1 {
			t.Fatalf("not fair: %v of %d streams", got, len(owners))
		}
		// Daemons with the same view decide the same, whatever the order of the view.
		slices.Reverse(v.Nodes)
		slices.Reverse(v.Owners)
		if again := balance(v); !reflect.DeepEqual(again, assigned) {
			t.Fatalf("another daemon decides %v, this one %v", again, assigned)
		}
		// A decision that is carried out does not change any more.
		if next := balance(viewOf(nodes, assigned)); !reflect.DeepEqual(next, assigned) {
			t.Fatalf("%v becomes %v", assigned, next)
		}
		// No more streams are handed over than fairness needs.
		had, moved, excess := map[string]int{}, 0, 0
		for stream, owner := range owners {
			if owner != "" {
				had[owner]++
				if assigned[stream] != owner {
					moved++
				}
			}
		}
		for _, n := range had {
			excess += max(0, n-len(owners)/len(nodes))
		}
		if moved > excess {
			t.Fatalf("%d handed over, where %d are more than a share", moved, excess)
		}
	})
}

// Daemons may share some feeds and not others. The decision still becomes stable, and each stream
// goes only to a daemon that may own it.
func TestShareComesToRestWhoeverMayOwnWhat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var streams []string
		for i := range rapid.IntRange(1, 20).Draw(t, "streams") {
			streams = append(streams, fmt.Sprintf("stream-%d", i))
		}
		v := view{Settled: map[string]bool{}}
		ids := []string{""}
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			n := messages.Node{ID: fmt.Sprintf("node-%d", i), Streams: rapid.SliceOfDistinct(rapid.SampledFrom(streams), rapid.ID[string]).Draw(t, "may own")}
			v.Nodes, v.Settled[n.ID] = append(v.Nodes, n), rapid.Bool().Draw(t, "settled")
			ids = append(ids, n.ID)
		}
		for _, s := range streams {
			v.Owners = append(v.Owners, messages.Owner{Stream: s, Node: rapid.SampledFrom(ids).Draw(t, "owner")})
		}
		assigned := balance(v)
		for i, o := range v.Owners {
			to := assigned[o.Stream]
			may := slices.ContainsFunc(v.Nodes, func(n messages.Node) bool { return n.ID == to && slices.Contains(n.Streams, o.Stream) })
			if to != o.Node && !may {
				t.Fatalf("stream %s goes from %q to %q, which may not own it", o.Stream, o.Node, to)
			}
			v.Owners[i].Node = to
		}
		if next := balance(v); len(v.Owners) > 0 && !maps.Equal(next, assigned) {
			t.Fatalf("%v becomes %v", assigned, next)
		}
	})
}
