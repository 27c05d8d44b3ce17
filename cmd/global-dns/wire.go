package main

import (
	"context"
	"errors"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

// run joins the server's parts and runs them until ctx ends.
func run(context.Context, Config, *proc.Process) error {
	return errors.New("the server's parts are not joined yet")
}
