package registry

import "fmt"

// Refusal is the error for input that does not pass the door. Reason is one of a
// small fixed set of words (it becomes a metric's label); Detail is a sentence
// for a person, clipped, never longer than a few hundred bytes.
type Refusal struct {
	Reason string
	Detail string
}

// Error returns the detail.
func (r *Refusal) Error() string { return r.Detail }

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
