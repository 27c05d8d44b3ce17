package refusals

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/registry"
)

// quiet is how long a reason is not logged again.
const quiet = 10 * time.Minute

// Recorder takes refusals from any number of goroutines. Make one with [New].
type Recorder struct {
	logger *slog.Logger
	total  *prometheus.CounterVec

	mu   sync.Mutex // guards said
	said map[string]mention
}

type mention struct {
	at     time.Time
	silent int // refusals not logged since
}

// New returns a recorder whose counter has this name and the label reason.
func New(registerer prometheus.Registerer, name, help string, logger *slog.Logger) *Recorder {
	r := &Recorder{
		logger: logger, said: map[string]mention{},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"reason"}),
	}
	registerer.MustRegister(r.total)
	return r
}

// Refused counts a refusal and logs it unless one like it was logged lately.
func (r *Recorder) Refused(refusal *registry.Refusal) {
	r.total.WithLabelValues(refusal.Reason).Inc()
	r.mu.Lock()
	last := r.said[refusal.Reason]
	now := time.Now()
	log := last.at.IsZero() || now.Sub(last.at) > quiet
	if log {
		r.said[refusal.Reason] = mention{at: now}
	} else {
		last.silent++
		r.said[refusal.Reason] = last
	}
	r.mu.Unlock()
	if log {
		r.logger.Warn("refused: the rest goes on", "reason", refusal.Reason, "err", refusal, "more_since_last", last.silent)
	}
}
