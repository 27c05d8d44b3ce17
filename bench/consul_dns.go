package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// consulDNS starts a Consul that answers DNS for services of the same number: each has
// an instance on as many nodes as there are clusters. It runs as long as the site.
func (s *site) consulDNS(ctx context.Context, services int) (*contestant, error) {
	name := func(n int) string { return serviceName(n) + ".service.consul" }
	queries, err := s.questions("questions-consul.txt", services, name, name, func(n int) string { return "not-" + name(n) })
	if err != nil {
		return nil, err
	}
	ports, err := servers.FreePorts(1)
	if err != nil {
		return nil, err
	}
	c, err := s.startConsul(ctx, "consul", servers.ConsulConfig{HCL: fmt.Sprintf("ports { dns = %d }", ports[0])})
	if err != nil {
		return nil, err
	}
	s.say("registering %d services in Consul", services)
	if err := c.fill(ctx, services, servingClusters, servingClusters); err != nil {
		return nil, err
	}
	pid, err := serverPID(c.dir)
	if err != nil {
		return nil, err
	}
	if err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", serverCore, strconv.Itoa(pid)).Run(); err != nil {
		return nil, fmt.Errorf("taskset: %w", err)
	}
	return &contestant{name: "Consul DNS", queries: queries, start: func(context.Context, *site) (running, string, error) {
		return lasting(pid), fmt.Sprintf("127.0.0.1:%d", ports[0]), nil
	}}, nil
}

// lasting is a server that is not stopped between its turns.
type lasting int

func (l lasting) pid() int { return int(l) }

func (lasting) stop() error { return nil }
