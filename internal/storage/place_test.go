package storage

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// FuzzContentRange: a place is given only for a range that could be one, and reads the same when it is written anew.
func FuzzContentRange(f *testing.F) {
	seeds := []string{"bytes 0-0/1", "bytes 50-59/100", "Bytes 50-59/100", "bytes */100", "bytes 5-9/*", "bytes 9-5/100", "bytes 0-9/9",
		"bytes 00-09/010", "bytes -1-9/10", "items 0-9/10", "", "bytes ", "bytes 0-9223372036854775806/9223372036854775807"}
	for _, seed := range seeds {
		f.Add(seed, "10")
	}
	f.Add("bytes 0-9/100", "-1")
	if len(seeds) < 13 {
		f.Fatal("seeds are missing")
	}
	f.Fuzz(func(t *testing.T, contentRange, contentLength string) {
		h := http.Header{"Content-Range": {contentRange}, "Content-Length": {contentLength}}
		start, size, err := placeOf(true, h)
		if err != nil {
			if start != 0 || size != 0 {
				t.Errorf("%v, and yet %d of %d", err, start, size)
			}
			return
		}
		first, last, total, err := contentRange3(contentRange)
		if err != nil || first != start || total != size || start < 0 || last < start || last >= size {
			t.Errorf("%q is byte %d of %d", contentRange, start, size)
		}
		if contentLength != "" && strconv.FormatInt(last-start+1, 10) != strings.TrimLeft(contentLength, "0") {
			t.Errorf("%q of content-length %q", contentRange, contentLength)
		}
	})
}

// contentRange3 reads a range, writes it, and reads it again.
func contentRange3(s string) (first, last, size int64, err error) {
	if first, last, size, err = contentRange(s); err != nil {
		return first, last, size, err
	}
	return contentRange(fmt.Sprintf("bytes %d-%d/%d", first, last, size))
}
