package registry

import (
	"fmt"
	"slices"
	"time"
)

// NextEpoch returns the epoch that a writer begins: above all that readers believe, and at
// least the stream's clock in Unix seconds. Last is the last message of the writer's epoch
// record, or the zero Message where none stands; now is the stream's clock; known are
// epochs of which the writer knows from elsewhere, where the stream may have lost their
// records (its lease, what it led itself). What readers refuse for its epoch does not
// count, wherever it stands. The error says that they would not believe the next epoch yet.
func NextEpoch(last Message, now time.Time, known ...uint64) (uint64, error) {
	clock := uint64(max(now.Unix(), 1))
	epoch := clock
	for _, k := range known {
		if k < clock+maxEpochAhead {
			epoch = max(epoch, k+1)
		}
	}
	if last.Refused == nil || last.Refused.Reason != ReasonEpoch {
		epoch = max(epoch, last.Epoch+1)
	}
	if last.Event != nil && last.Event.Takeover != nil {
		for _, f := range last.Event.Takeover.Fences {
			epoch = max(epoch, f.Epoch+1)
		}
	}
	if epoch > clock+maxEpochAhead {
		return 0, fmt.Errorf("epoch %d stands on the stream, a day ahead of its clock: waiting until a later one is believed", epoch-1)
	}
	return epoch, nil
}

// Fences returns what the next epoch's record names: the fences of the last record, and
// that record itself; nil where none stands, or none that can be read.
func Fences(last Message) []Fence {
	if last.Event == nil || last.Event.Takeover == nil {
		return nil
	}
	return WithFence(last.Event.Takeover.Fences, Fence{Epoch: last.Epoch, Sequence: last.Sequence})
}

// WithFence returns the fences, oldest first, with one more, unless that epoch's is among
// them; at most [MaxFences], the latest. It does not change what it was given.
func WithFence(fences []Fence, f Fence) []Fence {
	if slices.ContainsFunc(fences, func(o Fence) bool { return o.Epoch == f.Epoch }) {
		return fences
	}
	fences = append(slices.Clone(fences), f)
	return fences[max(0, len(fences)-MaxFences):]
}
