package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// bootstrapClusters share the services evenly; no two have one in common, so there
// are as many names as records.
const bootstrapClusters = 4

// measureBootstrap fills a stream with the records of many services, and starts
// global-dns on it again and again.
func measureBootstrap(ctx context.Context, s *site, r *result) error {
	services, starts := 100_000, 7
	if s.options.quick {
		services, starts = 10_000, 2
	}
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if _, _, err := conn.CreateStreams(ctx, stream.Settings{HistoryAge: 30 * 24 * time.Hour}); err != nil {
		return err
	}
	s.say("publishing %d records", services)
	size := 0
	for c := range bootstrapClusters {
		u, err := takeOver(ctx, conn, registry.ClusterID(fmt.Sprintf("cluster-%d", c)))
		if err != nil {
			return err
		}
		bytes, err := u.fill(ctx, nil, c*services/bootstrapClusters, (c+1)*services/bootstrapClusters)
		if err != nil {
			return err
		}
		size += bytes
	}
	var wall, processor samples
	var peaks []float64
	for n := range 1 + starts {
		one, err := s.bootstrapOnce(ctx, services)
		if err != nil {
			return err
		}
		s.say("ready after %v, %v of processor time, %.0f MB at most", one.wall.Round(time.Millisecond), one.processor, one.peak)
		if n == 0 {
			continue // it writes the zone record, and warms the page cache
		}
		wall, processor, peaks = append(wall, one.wall), append(processor, one.processor), append(peaks, one.peak)
	}
	what := fmt.Sprintf("%d records, start of the process until /readyz is green", services)
	r.times(what, wall, "p50 ≤ 3,000 ms", func(t summary) bool { return t.P50 <= 3000 })
	if peaks[0] > 0 {
		r.times("… processor time", processor, "", nil)
		slices.Sort(peaks)
		r.number("… resident memory, the most of all starts", "%.0f MB", peaks[len(peaks)-1], "≤ 400 MB", atMost(400.0))
	}
	r.note("%d service records of %d bytes each on average, in %d clusters, in a NATS server with file storage (in the page cache); two instances a service.",
		services, size/services, bootstrapClusters)
	return nil
}

func bootstrapService(n int) registry.ServiceState {
	key := registry.ServiceKey{Namespace: fmt.Sprintf("team-%d", n%100), Name: fmt.Sprintf("service-%06d", n)}
	service := registry.Service{Key: key}
	for i := range 2 {
		service.Instances = append(service.Instances, registry.Instance{
			ID: fmt.Sprintf("%s-%d", key.Name, i), Address: fmt.Sprintf("10.%d.%d.%d", n/65536, n/256%256, n%256), Port: 8080 + i, Weight: 1,
			Health: registry.Passing, Version: fmt.Sprintf("1.%d.%d", n%7, i), Meta: map[string]string{"zone": "eu-1"},
		})
	}
	return registry.NewServiceState(key, &service)
}

// start is one start of global-dns.
type start struct {
	wall, processor time.Duration
	peak            float64 // MB; 0: not known on this system
}

// bootstrapOnce starts global-dns, waits until it is ready, makes sure that it knows
// everything, and ends it.
func (s *site) bootstrapOnce(ctx context.Context, services int) (one start, err error) {
	config, err := s.configureGlobalDNS(map[string]any{}, map[string]any{})
	if err != nil {
		return one, err
	}
	d, err := s.startDaemon(filepath.Join(s.programs, "global-dns"), nil, "--config", config)
	if err != nil {
		return one, err
	}
	defer func() {
		if fault := d.stop(); err == nil {
			err = fault
		}
	}()
	if err := s.awaitReady(ctx, d); err != nil {
		return one, err
	}
	one.wall = time.Since(d.began)
	if used, err := usageOf(d.pid()); err == nil {
		one.processor = used.processor
	}
	known, err := s.records(ctx)
	if err != nil {
		return one, err
	}
	if known != services {
		return one, fmt.Errorf("ready with %d services, not %d", known, services)
	}
	if used, err := usageOf(d.pid()); err == nil {
		one.peak = used.peak
	}
	return one, nil
}

// awaitReady asks /readyz every 2 ms.
func (s *site) awaitReady(ctx context.Context, d *daemon) error {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+"/readyz", nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("%s was not ready within 2 minutes", d.name))
	defer cancel()
	for {
		if reply, err := client.Do(request); err == nil {
			_ = reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return nil
			}
		}
		if d.hasEnded() {
			return fmt.Errorf("%s ended; the end of its log:\n%s", d.name, d.logTail())
		}
		if !pause(ctx, 2*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}
