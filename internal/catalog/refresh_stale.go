package catalog

import (
	"context"

	"github.com/enovance/kitchen/internal/trust"
)

// RefreshStale is Refresh with a dangerous choice, see trust.AllowStale: an expired timestamp and snapshot serve.
// It is for the committer alone, who has to sign them again; nobody may decide anything else on such a view.
func (c *Catalog) RefreshStale(ctx context.Context, allow trust.AllowStale) (*View, error) {
	if c.store == nil {
		return nil, &NotCached{What: "the newest timestamp"}
	}
	unlock, err := c.state.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	w := &walk{c: c, source: storeSource{c.store}, writes: true, stale: &allow, memory: c.state.readMemory()}
	if w.memory == nil {
		w.memory = newMemory()
	}
	if err := w.run(ctx); err != nil {
		return nil, err
	}
	return w.view(), nil
}
