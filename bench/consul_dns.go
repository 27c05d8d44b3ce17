package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// consulDNS starts a Consul that answers DNS for services of the same number: each is
// registered on as many nodes as there are clusters. It runs as long as the site.
func (s *site) consulDNS(ctx context.Context, services int) (*contestant, error) {
	queries, err := s.questions("questions-consul.txt", services,
		func(n int) string { return consulName(n) + ".service.consul" },
		func(n int) string { return consulName(n) + ".service.consul" },
		func(n int) string { return "not-" + consulName(n) + ".service.consul" })
	if err != nil {
		return nil, err
	}
	ports, err := servers.FreePorts(1)
	if err != nil {
		return nil, err
	}
	dir, err := s.folder("consul")
	if err != nil {
		return nil, err
	}
	server, err := servers.StartConsul(ctx, dir, servers.ConsulConfig{HCL: fmt.Sprintf("ports { dns = %d }", ports[0])})
	if err != nil {
		return nil, err
	}
	s.atEnd(server.Kill)
	s.say("registering %d services in Consul", services)
	if err := registerAll(ctx, server.HTTP, services); err != nil {
		return nil, err
	}
	pid, err := serverPID(dir)
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

func consulName(n int) string { return fmt.Sprintf("service-%06d", n) }

// registerAll registers the services by transactions of 64 operations, the most that
// Consul takes.
func registerAll(ctx context.Context, consul string, services int) error {
	type operation map[string]any
	const most = 64
	var batch []operation
	send := func() error {
		body, err := json.Marshal(batch)
		if err != nil {
			return err
		}
		batch = batch[:0]
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, consul+"/v1/txn", bytes.NewReader(body))
		if err != nil {
			return err
		}
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if reply.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(reply.Body, 1000)) // the status says enough
			return fmt.Errorf("register in Consul: %s: %s", reply.Status, text)
		}
		return nil
	}
	for c := range servingClusters {
		node, address := fmt.Sprintf("node-%d", c), fmt.Sprintf("198.51.100.%d", c+1)
		batch = append(batch, operation{"Node": map[string]any{"Verb": "set", "Node": map[string]any{"Node": node, "Address": address}}})
		for n := range services {
			batch = append(batch, operation{"Service": map[string]any{"Verb": "set", "Node": node, "Service": map[string]any{
				"ID": consulName(n), "Service": consulName(n), "Address": address, "Port": 8080,
			}}})
			if len(batch) == most || n == services-1 {
				if err := send(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
