package main

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Verify is the section that says what becomes of messages that nobody signed who may.
type Verify struct {
	Policy   string      `yaml:"policy" default:"off" help:"what becomes of messages that are not signed by a key of their writer: off, warn (they are counted and said in the log) or refuse"`
	KeysFile config.Path `yaml:"keys_file" help:"file that says which keys may sign for whom"`
}

// The policies.
const (
	verifyOff    = "off"
	verifyWarn   = "warn"
	verifyRefuse = "refuse"
)

// check adds to the report what is wrong with the section.
func (v Verify) check(r *config.Report, signs bool) {
	switch v.Policy {
	case verifyOff:
	case verifyWarn, verifyRefuse:
		if v.KeysFile == "" {
			r.Add("verify.keys_file", "is missing; policy %s needs to know whose keys are good", v.Policy)
		}
		if v.Policy == verifyRefuse && !signs {
			r.Add("signing.seed_file", "is missing; with verify.policy refuse what this global-dns itself says would be refused")
		}
	default:
		r.Add("verify.policy", "%q is no policy; write off, warn or refuse", v.Policy)
	}
}

// unusable tells what is wrong with the file on this machine.
func (v Verify) unusable() []config.Fault {
	if v.KeysFile == "" {
		return nil
	}
	if _, err := chain.ReadKeys(string(v.KeysFile)); err != nil {
		return []config.Fault{{Place: string(v.KeysFile), Field: "verify.keys_file", Detail: "can't be used: " + err.Error()}}
	}
	return nil
}

// newUnverified returns what counts the messages that do not prove themselves.
func newUnverified(metrics prometheus.Registerer) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "seamark_events_unverified_total",
		Help: "Messages of the stream that are not signed by a key of their writer.",
	})
	metrics.MustRegister(c)
	return c
}

// begin makes a connection check what it reads. It returns by what messages of the history
// are to be refused; nil: by nothing.
func (v Verify) begin(conn *stream.Conn, failed prometheus.Counter, logger *slog.Logger) (refuses stream.Check, err error) {
	if v.Policy == verifyOff {
		return nil, nil
	}
	keys, err := chain.ReadKeys(string(v.KeysFile))
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	logger.Info("signatures are checked", "policy", v.Policy, "writers", len(keys.Writers()))
	conn.CheckWith(v.checking(keys, failed, logger))
	if v.Policy == verifyRefuse {
		refuses = keys.Check
	}
	return refuses, nil
}

// complaintEvery is how often the log says that messages do not prove themselves.
const complaintEvery = time.Minute

// checking counts and says what fails, and refuses it if that is the policy.
func (v Verify) checking(keys *chain.Keys, failed prometheus.Counter, logger *slog.Logger) stream.Check {
	var said atomic.Int64 // Unix nanoseconds; 0: never
	return func(m registry.Stored) error {
		err := keys.Check(m)
		if err == nil {
			return nil
		}
		failed.Inc()
		now, last := time.Now().UnixNano(), said.Load()
		if (last == 0 || now-last > int64(complaintEvery)) && said.CompareAndSwap(last, now) {
			logger.Warn("a message is not signed by its writer", "subject", m.Subject, "sequence", m.Sequence, "policy", v.Policy, "err", err)
		}
		if v.Policy == verifyRefuse {
			return err
		}
		return nil
	}
}
