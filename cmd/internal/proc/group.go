package proc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Part is one thing that runs for the life of a daemon.
type Part struct {
	Name string
	Run  func(ctx context.Context) error // blocks until all it started has ended
}

// ErrStuck is in the error of [Run] when parts did not end in time.
var ErrStuck = errors.New("did not stop in time")

// Run runs the parts side by side. When one of them returns, or ctx ends, the
// context of the others is cancelled, and Run waits for them, at most for grace
// (then it returns with [ErrStuck], while they may still run). The error is that
// of the part that failed first, with its name; nil when all ended because ctx did.
func Run(ctx context.Context, logger *slog.Logger, grace time.Duration, parts ...Part) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu      sync.Mutex // guards the fields below
		first   error
		running = make(map[string]int)
		wg      sync.WaitGroup
	)
	for _, p := range parts {
		running[p.Name]++
	}
	for _, p := range parts {
		wg.Go(func() {
			err := p.Run(inner)
			mu.Lock()
			defer mu.Unlock()
			running[p.Name]--
			stopped := inner.Err() != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(inner)))
			switch {
			case stopped:
			case first == nil && err == nil:
				first = fmt.Errorf("%s: ended although nobody asked it to", p.Name)
			case first == nil:
				first = fmt.Errorf("%s: %w", p.Name, err)
			case err != nil:
				logger.Error("a part failed while stopping", "part", p.Name, "err", err)
			}
			cancel(first)
		})
	}
	ended := make(chan struct{})
	go func() { // ends with the parts; outlives Run only when they are stuck
		defer close(ended)
		wg.Wait()
	}()
	select {
	case <-ended:
		return first
	case <-inner.Done():
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	select {
	case <-ended:
		return first
	case <-limit.C:
	}
	mu.Lock()
	defer mu.Unlock()
	var stuck []string
	for name, n := range running {
		if n > 0 {
			stuck = append(stuck, name)
		}
	}
	slices.Sort(stuck)
	return errors.Join(first, fmt.Errorf("%s: %w (%v)", strings.Join(stuck, ", "), ErrStuck, grace))
}
