package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

func run(ctx context.Context, names []string, stderr io.Writer) int {
	known := servers.Names()
	for _, name := range names {
		if !slices.Contains(known, name) {
			fmt.Fprintf(stderr, "seamark: no server is called %q, only %s\n", name, strings.Join(known, ", "))
			return 2
		}
	}
	if len(names) == 0 {
		names = known
	}
	code := 0
	for _, name := range names {
		if !prepare(ctx, name, stderr) {
			code = 1
		}
	}
	return code
}

// prepare builds one server and says how that went. It is false if the tests must not go on without the server.
func prepare(ctx context.Context, name string, stderr io.Writer) bool {
	dir, err := servers.Rebuild(ctx, name)
	missing := new(servers.UnavailableError)
	switch {
	case err == nil:
		fmt.Fprintf(stderr, "seamark: %s: ready in %s\n", name, dir)
		return true
	case errors.As(err, &missing):
		fmt.Fprintf(stderr, "seamark: %v\nseamark: %s: its tests will not run; to enable them: %s\n", err, name, missing.Enable)
		return !servers.Required(name)
	default:
		fmt.Fprintf(stderr, "seamark: %v\n", err)
		return false
	}
}
