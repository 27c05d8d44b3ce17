package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// signedServices are as few as two agents can watch in the best way by what Consul allows one address.
const signedServices = 40

// signedFlips is one health flip at a time in one Consul, through an agent that signs what
// it publishes and through one that does not, in turn. global-dns checks all of it.
type signedFlips struct {
	wg      sync.WaitGroup
	catalog *catalog
	asker   *asker
	ways    [2]signedWay
}

type signedWay struct {
	cluster   string
	service   int // the only one that it exports
	question  question
	published <-chan time.Time
	took      samples
}

func measureSigning(ctx context.Context, s *site, r *result) error {
	count := 600
	if s.options.quick {
		count = 60
	}
	b := &signedFlips{ways: [2]signedWay{{cluster: "amber", service: 0}, {cluster: "bronze", service: 1}}}
	defer b.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := b.open(ctx, s); err != nil {
		return err
	}
	forget := func() { b.asker.gaps, b.ways[0].took, b.ways[1].took = nil, nil, nil }
	if err := inTurn(ctx, s, count, forget, b.by(0), b.by(1)); err != nil {
		return err
	}
	plain := r.times("Consul flip → changed DNS answer, unsigned", b.ways[0].took, "p99 ≤ 25 ms", p99Within(25))
	signed := r.times("Consul flip → changed DNS answer, signed and checked", b.ways[1].took, "p99 ≤ 25 ms", p99Within(25))
	r.number("what signing and checking adds to the median", "%.2f ms", signed.P50-plain.P50, "", nil)
	r.times("asked every", b.asker.gaps, "", nil)
	r.note("One flip at a time, both ways in turn in random order, in one Consul with %d services; each agent watches all and exports one. "+
		"global-dns checks the digest of every message, and the signature where there is one (verify.policy: warn).", signedServices)
	return nil
}

// open starts the servers and the daemons, and gives the second agent a key.
func (b *signedFlips) open(ctx context.Context, s *site) (err error) {
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	if b.catalog, err = s.startConsul(ctx, "consul", servers.ConsulConfig{}); err != nil {
		return err
	}
	if err := b.catalog.fill(ctx, signedServices, flipNodes, 1); err != nil {
		return err
	}
	seed, keys, err := s.key(b.ways[1].cluster)
	if err != nil {
		return err
	}
	if err := s.startGlobalDNS(ctx, map[string]any{"verify": map[string]any{"policy": "warn", "keys_file": keys}}); err != nil {
		return err
	}
	if b.asker, err = s.newAsker(); err != nil {
		return err
	}
	for n := range b.ways {
		way := &b.ways[n]
		more := map[string]any{"export": map[string]any{"default": "none", "include": []string{"default/" + serviceName(way.service)}}}
		if n == 1 {
			more["signing"] = map[string]any{"seed_file": seed}
		}
		if _, err := s.startAgent(ctx, way.cluster, map[string]any{"consul": map[string]any{"address": b.catalog.server.HTTP}}, more); err != nil {
			return err
		}
		if way.question, err = newQuestion(serviceName(way.service)+".svc.mesh.internal.", dnsmessage.TypeA); err != nil {
			return err
		}
		if _, err := b.asker.until(ctx, way.question, answers(true)); err != nil {
			return err
		}
		if way.published, err = s.published(ctx, way.cluster, serviceName(way.service)); err != nil {
			return err
		}
	}
	return nil
}

// by flips through one of the agents.
func (b *signedFlips) by(n int) func(context.Context, bool) error {
	way := &b.ways[n]
	return func(ctx context.Context, passing bool) error { return b.flip(ctx, way, passing) }
}

func (b *signedFlips) flip(ctx context.Context, way *signedWay, passing bool) error {
	drain(way.published)
	sent := time.Now()
	wrote := write(ctx, &b.wg, func(ctx context.Context) error { return b.catalog.setHealth(ctx, way.service, passing) })
	_, answered, err := b.asker.after(ctx, way.published, way.question, answers(passing))
	if err != nil {
		return err
	}
	way.took = append(way.took, answered.Sub(sent))
	return (<-wrote).err
}

// key makes a key for a cluster, and returns the paths of its seed and of a file of keys
// that names it.
func (s *site) key(cluster string) (seedFile, keysFile string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", "", err
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", "", err
	}
	public, err := pair.PublicKey()
	if err != nil {
		return "", "", err
	}
	keys, err := json.Marshal(map[string]any{
		"schema": "seamark-keys/1", "writers": map[string]any{cluster: []map[string]string{{"key": public}}},
	})
	if err != nil {
		return "", "", err
	}
	seedFile, keysFile = filepath.Join(s.dir, cluster+".nk"), filepath.Join(s.dir, "keys.json")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		return "", "", err
	}
	return seedFile, keysFile, os.WriteFile(keysFile, keys, 0o600)
}
