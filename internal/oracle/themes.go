package oracle

import "math/rand/v2"

// themes are kinds of faults that belong together: each makes the others worse. Most bugs need two or
// three of one theme, which a draw from all kinds seldom brings.
var themes = [][]Kind{
	// What is lost, and how much of it is known.
	{"forget", "forget-away", "quiet", "close", "reply-lost", "kill", "burst", "partition", "future-event"},
	// Connections end and begin again.
	{"close", "eof", "reset", "garbage", "too-slow", "migrate", "half-open", "reconnect", "crash", "burst"},
	// Everything takes long.
	{"append-late", "store-frozen", "slow", "stall", "close", "reset", "burst", "crash", "forget-away"},
	// Clocks are wrong.
	{"clock-ahead", "clock-back", "our-clock", "crash", "close", "quiet", "kill", "partition", "refuse", "future-event"},
	// Processes end, and what they knew with them.
	{"kill", "stop", "power-cut", "panic", "reply-lost", "append-fails", "store-frozen", "close", "disk-lies"},
	// Wishes of an operator.
	{"reload", "pause", "reconnect", "wishes", "store-frozen", "append-late", "close", "quiet", "stop"},
	// The shared store, and who has it.
	{"node-frozen", "node-cut", "kill", "stop", "our-clock", "quiet", "append-late", "disk-lies", "close"},
	// Servers are away, and others are there.
	{"partition", "refuse", "stale", "crash", "migrate", "half-open", "stall", "quiet", "kill"},
}

// choose chooses which of the kinds a schedule has. Few kinds in one schedule compose better than a
// little of everything.
func choose(rnd *rand.Rand, able []Kind) []Kind {
	rnd.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
	n := min(len(able), 1+rnd.IntN(6))
	if rnd.IntN(3) == 0 {
		return able[:n]
	}
	theme := map[Kind]bool{}
	for _, k := range themes[rnd.IntN(len(themes))] {
		theme[k] = true
	}
	var chosen []Kind
	for _, k := range able { // in its drawn order
		if theme[k] && len(chosen) < n {
			chosen = append(chosen, k)
		}
	}
	if len(chosen) == 0 {
		return able[:n]
	}
	return chosen
}
