package main

import (
	"reflect"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/signing"
	"github.com/seamark-mesh/seamark/cmd/internal/zoneconfig"
	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/registry"
)

// Config is a valid configuration of one global-dns.
type Config struct {
	Zone       registry.ZoneRecord // clean: see registry.CleanZone
	NATS       config.NATS
	DNS        DNS
	Streams    Streams
	Probes     Probes
	Observer   Observer
	Checkpoint Checkpoint
	Archive    Archive
	Stale      Stale
	Linger     time.Duration // from SIGTERM until it stops answering
	Signing    signing.Section
	Verify     Verify
	HTTP       string // address to listen on
}

// Streams says what the streams should be like.
type Streams struct {
	Manage       bool          // create what is missing; false: only verify
	Replicas     int           // 1, 3 or 5
	HistoryAge   time.Duration // how long the history is kept
	HistoryBytes int64         // guard far above what the age needs; 0 = none
}

// document is the configuration as it is written.
type document struct {
	Zone    zoneconfig.Zone `yaml:"zone"`
	NATS    config.NATS     `yaml:"nats"`
	DNS     DNS             `yaml:"dns"`
	Streams struct {
		Manage       bool          `yaml:"manage" default:"true" help:"create the streams when they are missing; false only verifies them"`
		Replicas     int           `yaml:"replicas" default:"1" help:"copies of each stream: 1, 3 or 5"`
		HistoryAge   time.Duration `yaml:"history_age" default:"720h" help:"how long the history of events is kept"`
		HistoryBytes config.Size   `yaml:"history_bytes" default:"10GiB" help:"guard on the size of the history; 0 for none"`
	} `yaml:"streams"`
	Probes         Probes          `yaml:"probes"`
	Observer       Observer        `yaml:"observer"`
	Checkpoint     Checkpoint      `yaml:"checkpoint"`
	Signing        signing.Section `yaml:"signing"`
	Verify         Verify          `yaml:"verify"`
	Archive        Archive         `yaml:"archive"`
	ReadyWhenStale bool            `yaml:"ready_when_stale" default:"true" help:"be ready while cut off from NATS: the answers stand, marked as stale"`
	MaxStale       time.Duration   `yaml:"max_stale" default:"0s" help:"time of being cut off from NATS beyond which it is not ready; 0 for no limit"`
	ShutdownDelay  time.Duration   `yaml:"shutdown_delay" default:"0s" help:"how long it goes on answering after SIGTERM, while /readyz says 503"`
	HTTP           string          `yaml:"http" default:"127.0.0.1:8080" help:"address for /healthz, /readyz, /metrics and /v1"`
}

// AddFlags declares a flag for every field that one text can give.
func AddFlags(flags *pflag.FlagSet) { config.AddFlags(flags, &document{}) }

// Load reads the configuration from the file at path (none when path is ""), the
// environment and the flags made by [AddFlags], and checks all of it. The Config
// is usable only when there are no faults.
func Load(path string, environ []string, flags *pflag.FlagSet) (Config, []config.Fault) {
	var d document
	r := config.Load(&d, path, environ, flags)
	c := d.config(r)
	return c, r.Faults()
}

// CheckFiles tells which of the files that the configuration names can't be used on
// this machine.
func (c Config) CheckFiles() []config.Fault {
	_, faults := c.DNS.Settings(cookie.Secret{})
	return append(append(config.Unreadable(c.NATS.Files("nats")), faults...), slices.Concat(c.Checkpoint.unusable(), c.Archive.unusable(), c.Signing.Unusable(), c.Verify.unusable())...)
}

// Reloadable compares a new configuration with the one that runs. It returns the
// fields that differ and that only a restart can change. The zone may differ at
// any time: it is only the seed of the record on the stream, and the difference
// is reported anew. So may all of dns but where it listens, and all of observer but
// whether there is one.
func Reloadable(old, new Config) (changedFixed []string) {
	for _, f := range []struct {
		name     string
		old, new any
	}{
		{"nats", old.NATS, new.NATS},
		{"dns.listen", old.DNS.Listen, new.DNS.Listen},
		{"streams", old.Streams, new.Streams},
		{"probes", old.Probes, new.Probes},
		{"checkpoint", old.Checkpoint, new.Checkpoint},
		{"signing", old.Signing, new.Signing},
		{"verify", old.Verify, new.Verify},
		{"archive", old.Archive, new.Archive},
		{"ready_when_stale or max_stale", old.Stale, new.Stale},
		{"shutdown_delay", old.Linger, new.Linger},
		{"observer.enabled", old.Observer.Enabled, new.Observer.Enabled},
		{"http", old.HTTP, new.HTTP},
	} {
		if !reflect.DeepEqual(f.old, f.new) {
			changedFixed = append(changedFixed, f.name)
		}
	}
	return changedFixed
}
