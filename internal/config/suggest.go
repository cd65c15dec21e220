package config

import "slices"

// suggest is the name nearest to what was written, "" when none is near.
func suggest(written string, names []string) string {
	best, nearest := "", 1+max(1, min(3, len(written)/3))
	for _, name := range names {
		if d := distance(written, name); d < nearest {
			best, nearest = name, d
		}
	}
	return best
}

// distance is the number of letters to add, drop, replace or swap with their neighbour (optimal string alignment).
func distance(a, b string) int {
	if max(len(a), len(b)) > 64 { // a guess about a long name helps nobody
		return len(a) + len(b)
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, slices.Clone(before)
	}
	return last[len(b)]
}
