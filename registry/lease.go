package registry

import (
	"errors"
	"time"
)

// LeaseAt is a [Lease] as it stands on the stream.
type LeaseAt struct {
	Lease    Lease
	Sequence uint64        // of its message, for compare-and-set; 0 when not Found
	Age      time.Duration // since it was stored, by the stream's clock; never negative
	Found    bool
	Refused  error // what stands there is no lease this version understands; Lease is zero
}

// ErrFenced says that another writer has begun a later epoch: nothing of this
// one's is stored any more.
var ErrFenced = errors.New("fenced: another agent has taken over this cluster, or its epoch's record is gone")

// ErrConflict says that a compare-and-set found another message than expected.
var ErrConflict = errors.New("conflict: somebody else has written meanwhile")
