package publisher

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
)

// TestInterruptedWhileThePastIsRead: it is said, whatever was read by then.
func TestInterruptedWhileThePastIsRead(t *testing.T) {
	t.Parallel()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.Publish("openstack@1.0.0", catalogtest.Content{})
	p := &Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }}
	v, stop := w.View(), errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if past, err := p.pastOf(ctx, v, "openstack", nil); past != nil || !errors.Is(err, stop) {
		t.Errorf("%v, %v", past, err)
	}
}
