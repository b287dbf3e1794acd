package publisher_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/publisher"
)

// cutAt ends a context when the third part of an upload is about to be sent.
type cutAt struct {
	http.RoundTripper
	cut context.CancelFunc
}

func (c cutAt) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "3" {
		c.cut()
	}
	return c.RoundTripper.RoundTrip(r)
}

// TestAnUnfinishedUploadIsToldAndGoneOnWith: prune says that a bucket keeps one, and the next publication of the same goes on with
// it, and counts what it sent.
func TestAnUnfinishedUploadIsToldAndGoneOnWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := w.onS3(t)
	parts := storage.Parts{From: 6 << 20, Size: 5 << 20, Parallel: 1}
	dir := source(t, "openstack@1.0.0", map[string]string{"images/disk.img": large(7) + large(8) + large(9)})
	cut, cancel := context.WithCancel(ctx)
	broken := open(storage.Options{Parts: parts, RoundTripper: func(rt http.RoundTripper) http.RoundTripper { return cutAt{rt, cancel} }})
	if _, err := w.over(t, broken, w.online).Publish(cut, dir, signers(w.engineer)); err == nil {
		t.Fatal("it was not interrupted")
	}
	whole := open(storage.Options{Parts: parts})
	result, err := w.over(t, whole, w.online).Prune(ctx, publisher.PruneRequest{})
	check(t, err)
	if result.Unfinished != 1 {
		t.Errorf("%d uploads are told", result.Unfinished)
	}
	out, err := w.over(t, whole, w.online).Publish(ctx, dir, signers(w.engineer))
	check(t, err)
	if text := strings.Join(out.Summary, "\n"); !regexp.MustCompile(`15\.7 MB, of which 5\.\d MB were uploaded`).MatchString(text) {
		t.Errorf("of the upload it says %q", text)
	}
	if result, err = w.over(t, whole, w.online).Prune(ctx, publisher.PruneRequest{}); err != nil || result.Unfinished != 0 {
		t.Errorf("%+v, %v", result, err)
	}
}
