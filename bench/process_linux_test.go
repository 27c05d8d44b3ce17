package main

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestUsageAndConnectionsOfAProcess(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for range 3 {
		conn, err := net.Dial("tcp", listener.Addr().String()) //nolint:noctx // it does not wait
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	// Not accepted: the kernel holds the other ends, so they are nobody's.
	if n, err := connectionsTo(os.Getpid(), listener.Addr().(*net.TCPAddr).Port); err != nil || n != 3 {
		t.Errorf("%d connections, %v, want 3", n, err)
	}
	before, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
	}
	held := make([]byte, 64<<20)
	for n := range held {
		held[n] = 1
	}
	after, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.resident - before.resident; grown < 50 || after.peak < after.resident-1 || after.processor <= before.processor {
		t.Errorf("64 MiB and 100 ms later %+v, before %+v", after, before)
	}
	runtime.KeepAlive(held)
}

func TestIdleIsAShare(t *testing.T) {
	idle, err := idleShare(t.Context(), 200*time.Millisecond)
	if err != nil || idle < 0 || idle > 1 {
		t.Errorf("idle for %v of the time, %v", idle, err)
	}
}
