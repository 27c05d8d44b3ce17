package audit

import (
	"context"
	"iter"

	"github.com/seamark-mesh/seamark/registry"
)

// Query says which entries are wanted. The zero Query is the whole history.
type Query struct {
	Cluster registry.ClusterID  // that it is about; "": any
	Service registry.ServiceKey // zero: any
	Kinds   []Kind              // none: all

	Since  When // the first; zero: the oldest there is
	Until  When // the last; zero: the newest there is when reading begins
	Follow bool // after the end, go on with what comes; Until must be zero
	Limit  int  // entries at most; 0: all
	Newest bool // with Limit: the last so many, not the first so many
}

// Log yields what the history says, in the order of the stream. It ends after the first
// error; what can't be understood is no error but an entry of the kind [Unreadable].
// Where the service's earlier state can be known, changes tell old values too.
//
// A Since before the history's beginning is a [*TooEarlyError] before the first entry.
func Log(ctx context.Context, h History, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { yield(Entry{}, errLater) }
}
