package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Mode is where a Watch gets its hints from; see the package's page.
type Mode string

// The modes. ModeAuto is for [Config] only: choose.
const (
	ModeAuto       Mode = ""
	ModeHints      Mode = "hints"
	ModePerService Mode = "per-service"
	ModeSweep      Mode = "sweep"
)

// ImportTag marks instances that Seamark itself wrote into a catalog. They are
// never read back, or a service would travel in circles.
const ImportTag = "seamark-import"

// Config says which Consul to watch, and how.
type Config struct {
	// Address of a Consul agent: http://host:port, https://host:port or
	// unix:///path. HTTPS needs a few connections, plain HTTP one for each watch.
	Address string
	// Datacenter to read; empty: the agent's own.
	Datacenter string
	// TokenFile holds an ACL token. It is read again every minute and at each
	// start, so a rotated token is taken up. Empty: no token.
	TokenFile string
	// Token returns the token where it is not in a file. At most one of both is set.
	Token func() (string, error)
	// CAFile holds PEM certificates to trust for https; empty: the system's.
	CAFile string
	// CertFile and KeyFile hold a client certificate for https; both or none.
	CertFile, KeyFile string
	// Mode is forced where it is not [ModeAuto].
	Mode Mode
	// SkipServices names services that are not read. Nil means "consul", the
	// servers themselves.
	SkipServices []string
	// SkipTags: an instance with one of these tags is not read. [ImportTag]
	// always counts as one of them.
	SkipTags []string
	// Kinds of instances that are read besides ordinary ones: connect-proxy,
	// ingress-gateway, api-gateway and so on.
	Kinds []string
	// Logger hears of starts, modes and swapped states. Required.
	Logger *slog.Logger
	// Refused is told what of the registry's content did not pass the door, each
	// time it is read. It must not block and is called by several goroutines.
	// Required.
	Refused func(*registry.Refusal)
}

// Source watches and reads one Consul catalog. Its methods may be called by
// several goroutines, but one Watch runs at a time.
type Source struct {
	config Config
	door   door
	timing timing
	few    int // fewServices; tests change it

	watching atomic.Bool
	mode     atomic.Value              // Mode
	aclsOff  atomic.Pointer[time.Time] // when Consul said that it enforces no ACLs
	pool     atomic.Int32              // concurrent reads at a start; shrinks when Consul says it is too many

	mu        sync.Mutex // guards the fields below
	known     map[string]record
	running   *session
	lingering []time.Time // until when Consul holds connections of queries that were cancelled
}

// timing is how long things take. Tests shorten it.
type timing struct {
	wait      time.Duration // a blocking query's, before it is randomised
	plainWait time.Duration // the same over plain HTTP, where a cancelled query holds its connection so long
	request   time.Duration // an ordinary request may take so long
	pulse     time.Duration // between two signs of life
	rights    time.Duration // between two self-tests of the token
	settle    time.Duration // a missing instance may come back within this time
	coalesce  time.Duration // between two snapshots, after the first
	names     time.Duration // between two reads of all names
	sweep     time.Duration // the same, where the names wake a sweep
	retry     time.Duration // first pause before a read that did not bear out its hint is repeated
}

func defaultTiming() timing {
	return timing{
		wait:      90 * time.Second,
		plainWait: 30 * time.Second,
		request:   15 * time.Second,
		pulse:     10 * time.Second,
		rights:    time.Minute,
		settle:    50 * time.Millisecond,
		coalesce:  10 * time.Millisecond,
		names:     time.Second,
		sweep:     50 * time.Millisecond,
		retry:     20 * time.Millisecond,
	}
}

// The number of concurrent reads at a start. Plain HTTP needs a connection for each.
const (
	poolHTTPS = 64
	poolPlain = 16
	poolLeast = 4
)

// New checks the configuration, all of it at once. It opens nothing and starts
// nothing.
func New(config Config) (*Source, error) {
	if config.SkipServices == nil {
		config.SkipServices = []string{"consul"}
	}
	_, addressErr := parseAddress(config.Address)
	_, tlsErr := config.tls()
	var modeErr error
	switch config.Mode {
	case ModeAuto, ModeHints, ModePerService, ModeSweep:
	default:
		modeErr = fmt.Errorf("mode %q is not known: use hints, per-service or sweep", config.Mode)
	}
	err := errors.Join(addressErr, tlsErr, modeErr,
		check(config.Token == nil || config.TokenFile == "", "set either a token or a token file"),
		check(config.Logger != nil, "a logger is required"),
		check(config.Refused != nil, "a function that is told of refused content is required"))
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	s := &Source{config: config, door: newDoor(config), timing: defaultTiming(), few: fewServices, known: make(map[string]record)}
	s.mode.Store(ModeAuto)
	s.pool.Store(poolHTTPS)
	return s, nil
}

func check(ok bool, fault string) error {
	if ok {
		return nil
	}
	return errors.New(fault)
}

// Mode returns the mode that the last Watch has chosen; [ModeAuto] before it has.
func (s *Source) Mode() Mode { return s.mode.Load().(Mode) }

// restartError ends a session so that all is read again, within the same Watch:
// Consul's state was swapped, or another mode fits better.
type restartError struct{ why string }

func (e *restartError) Error() string { return e.why }

// maxRestarts bounds how often in a row a Watch does so by itself.
const maxRestarts = 5

// Watch emits the whole catalog as soon as it has been read in full, and again
// after each change; in a burst changes share snapshots, one every 10 ms.
// It blocks until ctx ends (and returns its cause) or Consul cannot be read or
// trusted. It never emits a part of the catalog. A second Watch while one runs
// is an error.
func (s *Source) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	if !s.watching.CompareAndSwap(false, true) {
		return errors.New("consul: a watch is running already")
	}
	defer s.watching.Store(false)
	for restarts := 0; ; restarts++ {
		started := time.Now()
		err := s.watchOnce(ctx, emit)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		restart := new(restartError)
		if time.Since(started) > time.Minute {
			restarts = 0
		}
		if !errors.As(err, &restart) || restarts >= maxRestarts {
			return fmt.Errorf("consul: %w", err)
		}
		s.config.Logger.Info("reading the whole catalog again", "why", restart.why)
	}
}

// Read reads the whole catalog once, from the leader, on connections of its own
// (at most 8). While a Watch runs, services for which Read finds something else
// than the Watch has are read again there.
func (s *Source) Read(ctx context.Context) (registry.Snapshot, error) {
	c, err := s.connect(readPool)
	if err != nil {
		return registry.Snapshot{}, fmt.Errorf("consul: %w", err)
	}
	defer c.close()
	records, index, err := s.readCatalog(ctx, c, readPool)
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			return registry.Snapshot{}, context.Cause(ctx)
		}
		if running != nil && errors.Is(err, errLacksRights) {
			running.doubtRights()
		}
		return registry.Snapshot{}, fmt.Errorf("consul: %w", err)
	}
	if running != nil {
		running.compare(ctx, records)
	}
	return snapshotOf(records, index), nil
}
