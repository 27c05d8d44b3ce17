package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/cmd/internal/config"
)

// Archive is the section about the history that is kept on disk for longer than the
// stream keeps it.
type Archive struct {
	Path           config.Path   `yaml:"path" help:"folder that keeps the history for longer than the stream does; one global-dns alone writes to it; none: nothing is archived"`
	SegmentBytes   config.Size   `yaml:"segment_bytes" default:"32MiB" help:"length at which a file of the archive is sealed; retention drops whole files"`
	RetentionAge   time.Duration `yaml:"retention_age" default:"0s" help:"age beyond which the archive's files are dropped; 0 for no limit"`
	RetentionBytes config.Size   `yaml:"retention_bytes" default:"0" help:"room beyond which the archive's oldest files are dropped; 0 for no limit"`
}

// Bounds of the section.
const (
	minSegmentBytes, maxSegmentBytes = 1 << 20, 1 << 30
	leastSegments                    = 4 // that the archive's room must have
)

// check adds to the report what is wrong with the section; history is how long the
// stream keeps what is archived.
func (a Archive) check(r *config.Report, history time.Duration) {
	if a.SegmentBytes < minSegmentBytes || a.SegmentBytes > maxSegmentBytes {
		r.Add("archive.segment_bytes", "%d bytes are not within 1MiB and 1GiB", a.SegmentBytes)
	}
	if a.RetentionAge != 0 && a.RetentionAge < history {
		r.Add("archive.retention_age", "%v is shorter than the stream's own history (streams.history_age: %v): write more than that, or 0 for no limit", a.RetentionAge, history)
	}
	if a.RetentionBytes != 0 && a.RetentionBytes < leastSegments*a.SegmentBytes {
		r.Add("archive.retention_bytes", "%d bytes have no room for %d files of archive.segment_bytes (%d): write more, or 0 for no limit", a.RetentionBytes, leastSegments, a.SegmentBytes)
	}
}

// unusable tells whether the folder can't be used. It may be missing; the one that it
// is made in may not.
func (a Archive) unusable() []config.Fault {
	if a.Path == "" {
		return nil
	}
	path := string(a.Path)
	if _, err := os.Stat(path); err != nil {
		path = filepath.Dir(path)
	}
	return noDirectory(path, "archive.path")
}

// options are what the writer is given. The stream is the mesh's own: where it was
// replaced, the archive goes on, with a mark.
func (a Archive) options() archive.Options {
	return archive.Options{SegmentBytes: int64(a.SegmentBytes), RetentionAge: a.RetentionAge, RetentionBytes: int64(a.RetentionBytes), Replaced: true}
}
