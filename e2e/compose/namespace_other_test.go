//go:build !linux

package compose

import (
	"context"
	"errors"
	"net"
	"os/exec"
)

var errNoNamespaces = errors.New("only Linux has namespaces")

func startOwned(*exec.Cmd) (<-chan struct{}, error) { return nil, errNoNamespaces }

func dialWithin(context.Context, string, string, string) (net.Conn, error) {
	return nil, errNoNamespaces
}
