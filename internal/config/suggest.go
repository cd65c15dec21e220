package config

import "slices"

// suggest returns the name that is most similar to the written word, or "" if none is similar.
func suggest(written string, names []string) string {
	best, nearest := "", 1+max(1, min(3, len(written)/3))
	for _, name := range names {
		if d := distance(written, name); d < nearest {
			best, nearest = name, d
		}
	}
	return best
}

// distance counts the letters to add, drop, replace or swap with a neighbour (optimal string
// alignment).
func distance(a, b string) int {
	if max(len(a), len(b)) > 64 { // a suggestion for a long name does not help
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
