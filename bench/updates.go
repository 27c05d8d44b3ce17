package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// updater publishes as the agent of one cluster does. One goroutine uses it at a time.
type updater struct {
	end      *stream.Writer
	cluster  registry.ClusterID
	epoch    uint64
	revision uint64
	fence    uint64
	services int
	done     int
	within   time.Duration // in which done changes were published
}

// updatesRate is how many changes a second are published.
const updatesRate = 1000

func servingName(n int) string {
	return fmt.Sprintf("service-%06d.team-%d.svc.mesh.internal", n, n%100)
}

// startServing starts global-dns on one core and fills the stream: every cluster has
// all services, and one gateway. It returns who can change the last cluster's.
func (s *site) startServing(ctx context.Context, services int) (*updater, error) {
	if err := s.startNATS(ctx); err != nil {
		return nil, err
	}
	var err error
	s.servingConfig, err = s.configureGlobalDNS(
		map[string]any{"nameservers": []any{map[string]any{"name": "ns1.mesh.internal.", "addresses": []string{"198.51.100.53"}}}},
		map[string]any{"transfer": map[string]any{"allow": []string{"127.0.0.1/32"}}},
	)
	if err != nil {
		return nil, err
	}
	if err := s.launchServing(ctx); err != nil {
		return nil, err
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	var u *updater
	for c := range servingClusters {
		s.say("publishing cluster %d of %d", c+1, servingClusters)
		if u, err = fillCluster(ctx, conn, registry.ClusterID(fmt.Sprintf("cluster-%d", c)), c, services); err != nil {
			return nil, err
		}
	}
	return u, s.awaitRecords(ctx, services)
}

// launchServing starts global-dns on its core and waits until it is ready.
func (s *site) launchServing(ctx context.Context) error {
	program, args := pinned(serverCore, filepath.Join(s.programs, "global-dns"), "--config", s.servingConfig)
	var err error
	if s.serving, err = s.startDaemon(program, nil, args...); err != nil {
		return err
	}
	d := s.serving
	s.atEnd(func() error {
		if d.hasEnded() {
			return nil // replaced by another one
		}
		return d.stop()
	})
	err = s.eventually(ctx, time.Minute, d, func() error { return get(ctx, "http://"+s.http+"/readyz", nil) })
	s.readyAfter = time.Since(d.began)
	return err
}

// restartServing ends global-dns and starts it again on the same stream.
func (s *site) restartServing(ctx context.Context, services int) error {
	if err := s.serving.stop(); err != nil {
		return err
	}
	if err := s.launchServing(ctx); err != nil {
		return err
	}
	return s.awaitRecords(ctx, services)
}

// awaitRecords waits until global-dns knows all services of all clusters.
func (s *site) awaitRecords(ctx context.Context, services int) error {
	return s.eventually(ctx, time.Minute, s.serving, func() error {
		known, err := s.records(ctx)
		if err != nil {
			return err
		}
		if known != servingClusters*services {
			return fmt.Errorf("%d of %d records are known", known, servingClusters*services)
		}
		return nil
	})
}

func (u *updater) event(kind registry.Kind) *registry.Event {
	u.revision++
	writer := registry.Writer(u.cluster)
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d-%s", writer, u.epoch, u.revision, rand.Text()), Kind: kind, Writer: writer,
		Epoch: u.epoch, Revision: u.revision, Time: time.Now().UTC(), Agent: "bench", Cause: registry.CauseChange,
	}
}

func (u *updater) service(n int, healthy bool) *registry.Event {
	e := u.event(registry.KindService)
	state := bootstrapService(n)
	if !healthy {
		instances := state.Instances
		for i := range instances {
			instances[i].Health = registry.Critical
		}
		state = registry.NewServiceState(registry.ServiceKey{Namespace: state.Namespace, Name: state.Name}, &registry.Service{
			Key: registry.ServiceKey{Namespace: state.Namespace, Name: state.Name}, Instances: instances,
		})
	}
	state.Changed, state.Seen, state.Index = registry.Stamp{Epoch: u.epoch, Revision: e.Revision, Time: e.Time}, e.Time, "1"
	e.Service = &state
	return e
}

// takeOver begins an epoch of a cluster.
func takeOver(ctx context.Context, conn *stream.Conn, cluster registry.ClusterID) (*updater, error) {
	u := &updater{end: conn.Writer(registry.Writer(cluster)), cluster: cluster, epoch: uint64(time.Now().Unix())}
	begin := u.event(registry.KindEpoch)
	begin.Takeover = &registry.EpochRecord{}
	var err error
	u.fence, err = u.end.PutEpoch(ctx, begin, 0)
	return u, err
}

// fill publishes what is in events and then the services from … to, all passing, and
// returns how many bytes the services' bodies have.
func (u *updater) fill(ctx context.Context, events []*registry.Event, from, to int) (bytes int, err error) {
	const together = 200
	for n := from; n < to; n++ {
		e := u.service(n, true)
		body, err := registry.Encode(e)
		if err != nil {
			return 0, err
		}
		bytes += len(body)
		if events = append(events, e); len(events) >= together || n == to-1 {
			if _, err := u.end.Publish(ctx, events, u.fence); err != nil {
				return 0, err
			}
			events = nil
		}
	}
	return bytes, nil
}

// fillCluster publishes a cluster's gateway and all services.
func fillCluster(ctx context.Context, conn *stream.Conn, cluster registry.ClusterID, number, services int) (*updater, error) {
	u, err := takeOver(ctx, conn, cluster)
	if err != nil {
		return nil, err
	}
	u.services = services
	record := u.event(registry.KindCluster)
	gateways, refused := registry.CleanGateways([]registry.Gateway{{
		Name: "gw-1", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(number + 1)})}, Ports: map[string]int{"http": 8080}, Weight: 1,
	}}, true, nil)
	if len(refused) > 0 {
		return nil, refused[0]
	}
	record.Cluster = &registry.ClusterRecord{Cluster: cluster, Source: "bench", Gateways: gateways}
	_, err = u.fill(ctx, []*registry.Event{record}, 0, services)
	return u, err
}

// begin lets health flips land, as many at a time as are due, until the returned function is called.
func (u *updater) begin(ctx context.Context) (end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		began, published := time.Now(), 0
		defer func() { u.done, u.within = u.done+published, u.within+time.Since(began) }()
		for n := 0; ; {
			due := int(time.Since(began).Seconds() * updatesRate)
			if published >= due {
				if !pause(ctx, time.Millisecond) {
					ended <- nil
					return
				}
				continue
			}
			var events []*registry.Event
			for range min(due-published, 100) {
				events = append(events, u.service(n*7919%u.services, n/u.services%2 == 1))
				n++
			}
			if _, err := u.end.Publish(context.WithoutCancel(ctx), events, u.fence); err != nil {
				ended <- err
				return
			}
			published += len(events)
		}
	}()
	return func() error { cancel(); return <-ended }
}

// rate is how many changes a second really landed.
func (u *updater) rate() float64 { return float64(u.done) / max(u.within.Seconds(), 0.001) }
