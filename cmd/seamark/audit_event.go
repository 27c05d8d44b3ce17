package main

import (
	"errors"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
)

// structured is a CloudEvent in its JSON form (CloudEvents 1.0).
type structured struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Source      string          `json:"source"`
	Subject     string          `json:"subject,omitempty"`
	Time        time.Time       `json:"time"`
	ContentType string          `json:"datacontenttype"`
	Sequence    uint64          `json:"sequence"` // of the stream
	Stored      time.Time       `json:"stored"`   // by the stream's clock
	Data        *registry.Event `json:"data"`
}

// errNoEvents says that an answer by HTTP holds no events.
var errNoEvents = errors.New("global-dns tells entries, not whole events")

// cloudEvent makes the CloudEvent of an entry; nil for one that nobody can read.
func cloudEvent(e audit.Entry) (*structured, error) {
	if e.Event == nil {
		if e.Kind == audit.Unreadable {
			return nil, nil
		}
		return nil, proc.Hint(errNoEvents, "read the stream itself: --nats URL, --archive DIR or --from-file FILE")
	}
	subject := serviceText(e.Service)
	if subject == "" {
		subject = string(e.Cluster)
	}
	return &structured{
		SpecVersion: "1.0", ID: e.Event.ID, Type: "seamark." + string(e.Event.Kind) + ".v1", Source: "/seamark/" + string(e.Event.Writer),
		Subject: subject, Time: e.Event.Time, ContentType: "application/json", Sequence: e.Sequence, Stored: e.Stored, Data: e.Event,
	}, nil
}
