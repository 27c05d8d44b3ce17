package audit

import (
	"context"

	"github.com/seamark-mesh/seamark/registry"
)

// Origin is where a part of an answer comes from.
type Origin struct {
	What    string             `json:"what"` // instance or gateway
	Cluster registry.ClusterID `json:"cluster"`
	Name    string             `json:"name"`   // the instance's id or the gateway's name
	Serves  bool               `json:"serves"` // the instance takes traffic; the gateway's cluster can serve the service

	Instance *registry.Instance `json:"instance,omitempty"`
	Gateway  *registry.Gateway  `json:"gateway,omitempty"`

	Put    Entry `json:"put"`    // the event that put it there
	Formed Entry `json:"formed"` // the last event that changed any field of it; often the same

	// Older says that it was there before the oldest message that can be read: then Put
	// (and perhaps Formed) is the earliest that is known of it.
	Older bool `json:"older,omitempty"`
}

// Blame tells, for every instance of a service and every gateway of its clusters at a
// moment, which event put it there; sorted by cluster, gateways first, then by name. It
// walks back the history of these subjects only.
func Blame(ctx context.Context, h History, m Moment, key registry.ServiceKey) ([]Origin, error) {
	return nil, errLater
}
