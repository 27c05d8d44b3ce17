package proc

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// SignalError is the cause with which a signal ends a context.
type SignalError struct{ Signal os.Signal }

// Error names the signal.
func (e SignalError) Error() string { return fmt.Sprintf("received signal %q", e.Signal) }

// Signals returns a context that SIGINT or SIGTERM end, with a [SignalError] as its
// cause. The next signal of these two then has its usual effect: it ends the
// process. Stop gives both back to the system; it must be called.
func Signals(ctx context.Context) (signalled context.Context, stop func()) {
	signalled, cancel := context.WithCancelCause(ctx)
	received := make(chan os.Signal, 1)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-received:
			signal.Stop(received) // first, so that the next signal is not lost
			cancel(SignalError{s})
		case <-signalled.Done():
			signal.Stop(received)
		}
	}()
	return signalled, func() {
		cancel(nil)
		<-ended
	}
}
