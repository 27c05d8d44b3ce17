package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// The kernel gives outgoing connections ports from 32768 (Linux) or 49152 (macOS) on. A server's port must lie below:
// while the server is stopped, a client's connection could otherwise occupy it, even connect to itself.
const (
	lowestPort  = 12000
	highestPort = 31000
)

// FreePorts returns n different TCP ports of 127.0.0.1 that nothing listens on now. Nothing reserves them, so a server
// may still find one taken, rarely.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	seen := make(map[int]bool)
	for len(ports) < n {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		if !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// freePort picks a port at random such that it and its neighbours at the given distances are all free.
func freePort(distances ...int) (int, error) {
	for range 200 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if allFree(port, append(distances, 0)) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port found between %d and %d", lowestPort, highestPort)
}

func allFree(port int, distances []int) bool {
	for _, distance := range distances {
		// On all addresses, because Nacos listens so.
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port+distance))
		if err != nil {
			return false
		}
		_ = listener.Close()
	}
	return true
}

// onFreePorts starts a server on new ports until they are its own. Only a port that someone else took in between is
// worth another attempt.
func onFreePorts[S any](ctx context.Context, start func(context.Context) (S, error)) (S, error) {
	for attempt := 1; ; attempt++ {
		server, err := start(ctx)
		early := new(exitedEarlyError)
		if err == nil || attempt == 5 || !errors.As(err, &early) || !early.portTaken {
			return server, err
		}
	}
}
