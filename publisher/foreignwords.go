package publisher

import (
	"slices"
	"strconv"
	"strings"
)

// A payload that was not vetted, or was refused, is shown, too, and may give any text as a path: none of it stands among Kitchen's words as it is.

// plainly is a path as a payload gives it: between quotation marks where it is not made of what Kitchen's own are made of.
func plainly(name string) string {
	return quotedBut("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._+~/*@", name)
}

// plainPaths are several.
func plainPaths(paths []string) string {
	words := make([]string, len(paths))
	for i, path := range paths {
		words[i] = plainly(path)
	}
	return strings.Join(words, " ")
}

// quotedBut puts a text between quotation marks unless it is made of those characters alone.
func quotedBut(plain, s string) string {
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return strconv.Quote(s)
}

// keysIn are the ids in after that are not in before.
func keysIn(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(after), func(id string) bool { return slices.Contains(before, id) })
}

// inWords show, whole and each once, the ids of keys that come in: they are to be compared with what their holders say, and
// somebody can make a key whose id begins like another's.
func inWords(ids []string) []string {
	var lines []string
	told := map[string]bool{}
	for _, id := range ids {
		if !told[id] {
			lines = append(lines, "  key in: "+id)
		}
		told[id] = true
	}
	return lines
}
