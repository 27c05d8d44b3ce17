package proc

import (
	"context"
	"sync"
	"time"
)

// Linger returns a context that ends as ctx does, with its cause, but a delay later. In that
// time a daemon says that it is not ready and goes on working, so that whoever sends it work
// can turn away first. Stop ends the context at once; it must be called.
func Linger(ctx context.Context, delay time.Duration) (lingering context.Context, stop func()) {
	lingering, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-lingering.Done():
			return
		}
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-lingering.Done():
		}
	})
	return lingering, func() { cancel(nil); wg.Wait() }
}
