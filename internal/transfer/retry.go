package transfer

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/enovance/kitchen/internal/storage"
)

// maxTries is how often in a row something is asked for without a chunk gained.
const maxTries = 5

// passing tells whether a failure to read may be another one, or none, the next time.
func passing(err error) bool {
	return errors.Is(err, storage.ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF)
}

// firstPause is half of the first pause, on average; tests have no time.
var firstPause = 100 * time.Millisecond

// pause waits before another try: about 0.2 s, 0.4 s, 0.8 s …, with jitter; not before the first.
func pause(ctx context.Context, n int) error {
	if n == 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	base := firstPause << min(n, 6)
	t := time.NewTimer(base/2 + rand.N(base))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
