package chain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Kind says what is wrong.
type Kind string

// The kinds of [Fault].
const (
	Missing    Kind = "missing"     // messages that were there are not
	Altered    Kind = "altered"     // it is not what its writer wrote
	Reordered  Kind = "reordered"   // it stands behind a message that was written after it
	Inserted   Kind = "inserted"    // it has no place in its writer's history
	Fork       Kind = "fork"        // two histories of one epoch
	UnknownKey Kind = "unknown_key" // signed by a key that is not its writer's
	RevokedKey Kind = "revoked_key" // signed by a key that was not valid when it was stored
	Unsigned   Kind = "unsigned"    // not signed, though its writer has a key
)

// Fault is one thing that is wrong, in one place.
type Fault struct {
	Kind     Kind            `json:"kind"`
	Writer   registry.Writer `json:"writer,omitempty"` // "" where the stream itself lacks sequences
	Epoch    uint64          `json:"epoch,omitempty"`
	Revision uint64          `json:"revision,omitempty"` // of the first message concerned
	Until    uint64          `json:"until,omitempty"`    // the last revision concerned, where there are several

	// Sequence is where the message stands; of Missing, the message before which they
	// should stand. Last is where the last one stands, if several are concerned; of a gap
	// in the stream itself both are the sequences that are missing.
	Sequence uint64 `json:"sequence"`
	Last     uint64 `json:"last,omitempty"`
	Other    uint64 `json:"other,omitempty"` // of Fork, Inserted: where the message stands that it contradicts or repeats

	Detail string `json:"detail"` // a sentence for a person
}

// String is a line for a person.
func (f Fault) String() string {
	at := fmt.Sprintf("#%d", f.Sequence)
	if f.Last > f.Sequence {
		at += fmt.Sprintf("–#%d", f.Last)
	}
	if f.Writer == "" {
		return fmt.Sprintf("%s %s: %s", at, f.Kind, f.Detail)
	}
	if f.Epoch == 0 {
		return fmt.Sprintf("%s %s %s: %s", at, f.Writer, f.Kind, f.Detail)
	}
	which := fmt.Sprintf("%d.%d", f.Epoch, f.Revision)
	if f.Until > f.Revision {
		which += fmt.Sprintf("–%d", f.Until)
	}
	return fmt.Sprintf("%s %s %s %s: %s", at, f.Writer, which, f.Kind, f.Detail)
}

// Head is one message of a writer's chain.
type Head struct {
	Writer   registry.Writer `json:"writer"`
	Epoch    uint64          `json:"epoch"`
	Revision uint64          `json:"revision"`
	Link     stream.Link     `json:"link"`
	Sequence uint64          `json:"sequence"`
	Stored   time.Time       `json:"stored"` // by the stream's clock
}

// WriterReport is what was found of one writer. Counts are of messages.
type WriterReport struct {
	Writer    registry.Writer `json:"writer"`
	Messages  uint64          `json:"messages"`
	Epochs    int             `json:"epochs"`         // that were seen
	Signed    uint64          `json:"signed"`         // and the signature is good
	Unsigned  uint64          `json:"unsigned"`       // whether that is a fault or not
	Unchained uint64          `json:"unchained"`      // of versions without a chain
	Repeated  uint64          `json:"repeated"`       // stored again, without any effect
	AgedOut   bool            `json:"aged_out"`       // it begins in the middle of an epoch: what was before has aged out
	First     Head            `json:"first"`          // where its history begins
	Last      Head            `json:"last"`           // where it ends
	Keys      []string        `json:"keys,omitempty"` // that signed, sorted
	ByKind    map[Kind]int    `json:"faults_by_kind"` // how many faults of each kind
	Chained   bool            `json:"chained"`        // it has a chain; false of _operator, and of old versions alone
}

// Intact reports whether nothing is wrong with the writer's history.
func (w WriterReport) Intact() bool { return len(w.ByKind) == 0 }

// Report is what a [Verifier] found.
type Report struct {
	Messages    uint64           `json:"messages"`           // all that were added
	Foreign     uint64           `json:"foreign"`            // on subjects that are no writer's
	First, Last uint64           `json:"-"`                  // sequences
	Writers     []WriterReport   `json:"writers"`            // sorted by name
	AgedOut     [][2]uint64      `json:"aged_out,omitempty"` // sequences that are missing and known to be gone: Options.Known
	Faults      []Fault          `json:"faults"`             // by sequence, at most Options.Limit
	More        int              `json:"more"`               // faults beyond that
	Checkpoints []CheckpointWord `json:"checkpoints"`        // one for each head of each checkpoint given

	Retention int64    `json:"retention_seconds,omitempty"` // how long the stream keeps its messages; 0: for ever, or not known
	Notes     []string `json:"notes,omitempty"`             // sentences about that, and about what is no fault and limits what is proved
}

// Intact reports whether nothing is wrong: no fault, and every checkpoint is met, has aged
// out or was not to be read; of a history without messages no checkpoint is.
func (r Report) Intact() bool {
	if r.Messages == 0 && len(r.Checkpoints) > 0 {
		return false
	}
	return len(r.Faults) == 0 && r.More == 0 && !slices.ContainsFunc(r.Checkpoints, func(c CheckpointWord) bool {
		return c.Verdict == Rewritten || c.Verdict == Gone
	})
}

// Heads returns where the writers' chains end: what a checkpoint states.
func (r Report) Heads() []Head {
	var heads []Head
	for _, w := range r.Writers {
		if w.Chained {
			heads = append(heads, w.Last)
		}
	}
	return heads
}

// Of returns what was found of a writer.
func (r Report) Of(w registry.Writer) (WriterReport, bool) {
	n, found := slices.BinarySearchFunc(r.Writers, w, func(r WriterReport, w registry.Writer) int { return cmp.Compare(r.Writer, w) })
	if !found {
		return WriterReport{}, false
	}
	return r.Writers[n], true
}
