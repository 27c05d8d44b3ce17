package proc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		lingering, stop := Linger(ctx, 5*time.Second)
		defer stop()
		time.Sleep(time.Hour)
		if err := lingering.Err(); err != nil {
			t.Fatalf("ended before it was asked to: %v", err)
		}
		began := time.Now()
		end(errOver)
		<-lingering.Done()
		if took := time.Since(began); took != 5*time.Second || !errors.Is(context.Cause(lingering), errOver) {
			t.Errorf("ended after %v because of %v", took, context.Cause(lingering))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		lingering, stop := Linger(ctx, time.Hour)
		end(errOver)
		stop()
		if lingering.Err() == nil {
			t.Error("it goes on after stop")
		}
	})
}
