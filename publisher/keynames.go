package publisher

import "slices"

// keyDigits is how much of a key id is shown where nothing else is needed to know it.
const keyDigits = 8

// ShortID is how a key id is shown by itself: its first 8 hex digits. Two ids are never compared by it.
func ShortID(id string) string { return id[:min(keyDigits, len(id))] }

// KeyNames is how the keys of one message are shown: by their first 8 hex digits, or by as many as it takes to tell all
// of ids apart.
func KeyNames(ids ...string) func(id string) string {
	digits := keyDigits
	sorted := slices.Clone(ids)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	for i := 1; i < len(sorted); i++ {
		digits = max(digits, sharedDigits(sorted[i-1], sorted[i])+1)
	}
	return func(id string) string { return id[:min(digits, len(id))] }
}

// sharedDigits is how many digits two ids begin with together.
func sharedDigits(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// shortIDs are the names of the keys of one message.
func shortIDs(ids []string) []string { return named(KeyNames(ids...), ids) }

func named(name func(string) string, ids []string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = name(id)
	}
	return names
}
