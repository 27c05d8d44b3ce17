package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// Checkpoint is the section about what is kept on disk, to start from while NATS is down.
type Checkpoint struct {
	Path       config.Path   `yaml:"path" help:"file that keeps what is known, to start from while NATS is down; the one before it is kept beside it; none: nothing is kept"`
	Interval   time.Duration `yaml:"interval" default:"5s" help:"how often it is written at most"`
	MaxAge     time.Duration `yaml:"max_age" default:"24h" help:"age beyond which it is not answered from; 0 for no limit"`
	ReadyAfter time.Duration `yaml:"ready_after" default:"0s" help:"how long a global-dns that started from it is not ready"`
}

// Bounds of the section.
const (
	minCheckpointInterval, maxCheckpointInterval = time.Second, time.Hour
	maxReadyAfter                                = time.Hour
)

// check adds to the report what is wrong with the section.
func (c Checkpoint) check(r *config.Report) {
	if c.Interval < minCheckpointInterval || c.Interval > maxCheckpointInterval {
		r.Add("checkpoint.interval", "%v is not within %v and %v", c.Interval, minCheckpointInterval, maxCheckpointInterval)
	}
	if c.MaxAge < 0 {
		r.Add("checkpoint.max_age", "%v is less than nothing; write 0 for no limit", c.MaxAge)
	}
	if c.ReadyAfter < 0 || c.ReadyAfter > maxReadyAfter {
		r.Add("checkpoint.ready_after", "%v is not within 0s and %v", c.ReadyAfter, maxReadyAfter)
	}
}

// unusable tells whether the directory of the file is missing.
func (c Checkpoint) unusable() []config.Fault {
	if c.Path == "" {
		return nil
	}
	return noDirectory(filepath.Dir(string(c.Path)), "checkpoint.path")
}

// noDirectory tells when there is no directory at path, which a field names or is within.
func noDirectory(path, field string) []config.Fault {
	about, err := os.Stat(path)
	switch {
	case err != nil:
		return []config.Fault{{Place: path, Field: field, Detail: fmt.Sprintf("the directory can't be used: %v", err)}}
	case !about.IsDir():
		return []config.Fault{{Place: path, Field: field, Detail: "is no directory"}}
	}
	return nil
}

// Stale says what a replica that is cut off from NATS counts as.
type Stale struct {
	Ready    bool
	MaxStale time.Duration
}

// check adds to the report what is wrong with the fields.
func (s Stale) check(r *config.Report) {
	if s.MaxStale < 0 {
		r.Add("max_stale", "%v is less than nothing; write 0 for no limit", s.MaxStale)
	}
}

// options are what the replica is given.
func (c Config) options(conn *connection) replica.Options {
	return replica.Options{
		Recovery: conn, By: author(),
		NotReadyWhenStale: !c.Stale.Ready, MaxStale: c.Stale.MaxStale, ReadyAfter: c.Checkpoint.ReadyAfter,
	}
}
