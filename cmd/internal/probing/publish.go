package probing

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seamark-mesh/seamark/liveness/probe"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Publish reports what a Prober finds until ctx ends, and then returns nil. Speaks may
// be nil; see [probe.ReporterConfig].
func Publish(ctx context.Context, p *probe.Prober, conn *stream.Conn, vantage, agent string, speaks func() bool, logger *slog.Logger) error {
	reporter := probe.NewReporter(probe.ReporterConfig{
		Vantage: vantage, Agent: agent, Speaks: speaks, Logger: logger,
		Final: func(err error) bool { return errors.Is(err, stream.ErrNotPermitted) },
	}, p, conn)
	return insist(ctx, conn, logger, func() error { return reporter.Run(ctx) }, func(err error) {
		logger.Warn("what the probes of gateways find is not reported: these credentials lack a right on the stream; docs/operations.md lists them, and probes.enabled: false ends this",
			"may_publish", stream.ProbeSubject(vantage, "*"), "err", err)
	})
}

// again is how long to wait before something is tried anew that a later reconnect need
// not mend: the streams may not have been made yet.
const again = 5 * time.Second

// insist runs f until ctx ends, and again whenever it fails before. What the server does
// not permit is said once, and tried again when the connection was made anew: rights come
// with it.
func insist(ctx context.Context, conn *stream.Conn, logger *slog.Logger, f func() error, say func(error)) error {
	said, denied := false, false
	for {
		reconnected := conn.Reconnected()
		err := f()
		if ctx.Err() != nil {
			return nil
		}
		var later <-chan time.Time
		if errors.Is(err, stream.ErrNotPermitted) {
			if !denied {
				denied = true
				say(err)
			}
		} else {
			if !said {
				said = true
				logger.Warn("probes of gateways wait for the stream", "err", err)
			}
			later = time.After(again)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-later:
		case <-reconnected:
		}
	}
}
