package main

import (
	"context"
	"os"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

func main() {
	os.Exit(proc.Execute(context.Background(), newCommand(os.Environ()), os.Args[1:], os.Stdout, os.Stderr))
}
