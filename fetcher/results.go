package fetcher

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Limits of a directory of results: a hook that leaves more, by mistake or not, must not keep the agent for ever.
const (
	maxEntries      = 10_000 // names below it that are looked at
	maxResultsDepth = 32     // directories within each other
)

// tooMuch says that there is more than anybody looks at.
type tooMuch struct{ what string }

func (e *tooMuch) Error() string { return "there are " + e.what }

// walkResults shows every name below a directory, in order, until see gives an error, the context ends, or a limit is
// passed (*tooMuch). Links are not followed.
func walkResults(ctx context.Context, root *os.Root, see func(name string, d fs.DirEntry, err error) error) error {
	seen := 0
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if seen++; seen > maxEntries {
			return &tooMuch{fmt.Sprintf("more than %d names", maxEntries)}
		}
		if strings.Count(name, "/") >= maxResultsDepth {
			return &tooMuch{fmt.Sprintf("more than %d directories within each other", maxResultsDepth)}
		}
		return see(name, d, err)
	})
}
