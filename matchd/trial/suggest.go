package trial

import (
	"fmt"
	"slices"
	"strings"
)

// Suggest returns the known word that is most like word, or "" if none is near.
func Suggest(word string, known []string) string {
	best, nearest := "", max(1, min(len(word), 64)/3)+1
	for _, candidate := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(candidate), nearest); d < nearest {
			best, nearest = candidate, d
		}
	}
	return best
}

// DidYouMean returns ": did you mean ..?" if a known word is near, else otherwise.
func DidYouMean(word string, known []string, otherwise string) string {
	if near := Suggest(word, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return otherwise
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to make b of a; at most limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	beforeLast := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			current[j] = min(replaced, last[j]+1, current[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], beforeLast[j-2]+1)
			}
		}
		if slices.Min(current) >= limit {
			return limit
		}
		beforeLast, last = last, current
	}
	return min(last[len(b)], limit)
}
