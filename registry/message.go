package registry

import "time"

// Message is one message of the stream as the fold takes it: what its subject and
// headers say, and its body as far as it could be read. Make one with [NewMessage].
type Message struct {
	Fact     Fact
	Sequence uint64    // in the stream
	Stored   time.Time // by the stream's clock
	Epoch    uint64    // from the headers; 0 for writers without an epoch
	Revision uint64    // from the headers
	Event    *Event    // nil when Refused is set
	Digest   Digest    // of Event.Service, computed by [NewMessage]
	Refused  *Refusal  // why the body can't be used
}

// NewMessage joins a decoded body (or the reason why there is none) with what the
// subject and headers say, and refuses a body that speaks of something else. It
// does the costly part of the fold (the digest), so that it can run on all cores.
func NewMessage(fact Fact, sequence uint64, stored time.Time, epoch, revision uint64, event *Event, err *Refusal) Message {
	m := Message{Fact: fact, Sequence: sequence, Stored: stored, Epoch: epoch, Revision: revision}
	switch {
	case epoch > uint64(max(stored.Unix(), 0))+maxEpochAhead:
		m.Refused = refuse(ReasonEpoch, "epoch %d is more than %d s ahead of the stream's clock", epoch, maxEpochAhead)
	case err != nil:
		m.Refused = err
	case event == nil:
		m.Refused = refuse("not-json", "there is no body")
	case event.Fact() != fact || event.Kind != fact.Kind:
		m.Refused = refuse("foreign", "the subject says %s %s %s %s, the body something else",
			clip(string(fact.Writer)), clip(string(fact.Kind)), fact.Service, clip(fact.Name))
	case event.Epoch != epoch || event.Revision != revision:
		m.Refused = refuse("headers", "the headers say epoch %d revision %d, the body %d and %d", epoch, revision, event.Epoch, event.Revision)
	case fact.Kind == KindEpoch && (epoch == 0 || revision == 0):
		m.Refused = refuse(ReasonEpoch, "an epoch record without an epoch or a revision")
	default:
		m.Event = event
		if event.Service != nil {
			m.Digest = event.Service.Digest()
		}
	}
	return m
}

// maxEpochAhead bounds how far an epoch may be ahead of the time at which the
// stream stored it, in seconds. Epochs are Unix seconds, so one beyond this could
// only lock out every honest successor.
const maxEpochAhead = 24 * 60 * 60

// ReasonEpoch is the reason of a [Refusal] of messages whose epoch is not believed,
// not even for counting.
const ReasonEpoch = "epoch"

// Result is what became of a message.
type Result string

// The results of [Fold.Apply].
const (
	Applied     Result = "applied"     // it is now the state of its fact
	Duplicate   Result = "duplicate"   // this or a later message of its fact was applied before
	Passed      Result = "passed"      // it states nothing that shapes the zone
	Quarantined Result = "quarantined" // it can't be used: its fact keeps its last state
)

// Outcome tells what [Fold.Apply] did.
type Outcome struct {
	Result Result
	Reason string // for Quarantined: the refusal's reason
	Gap    bool   // a revision is missing before this one: load the writer's facts again

	// Complete says that a cluster of which something was inherited has published all
	// it owns: see [Inherit].
	Complete bool
}
