package audit

import (
	"context"

	"github.com/seamark-mesh/seamark/registry"
)

// At returns the whole registry as the fold of the history had it after the message of
// a moment: the View is the same, byte for byte ([registry.View.AppendCanonical]), and
// is synced. Where the history has lost its beginning, and it can't be proven that all
// that stood then is still there, the error is a [*TooEarlyError].
func At(ctx context.Context, h History, m Moment) (*registry.View, error) { return nil, errLater }

// ServiceAt is [At] for one service: the View holds that service in every cluster, and
// all that decides its answers (clusters with gateways, zone, states and orders). Of
// other services it knows nothing. It reads only what it needs.
func ServiceAt(ctx context.Context, h History, m Moment, key registry.ServiceKey) (*registry.View, error) {
	return nil, errLater
}

// Bound is how far back [At] is exact.
type Bound struct {
	Earliest Moment `json:"earliest"` // At answers for this moment and all later ones; zero: for none
	Reason   string `json:"reason"`   // why not for earlier ones
}

// Bounds finds out how far back [At] is exact. On a history that has lost its beginning
// that takes reading about a day of it.
func Bounds(ctx context.Context, h History) (Bound, error) { return Bound{}, errLater }
