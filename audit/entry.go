package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Kind says what sort of thing an [Entry] tells.
type Kind string

// The kinds of [Entry]. What states a service, a cluster or the zone is a change, a
// resync or a refresh, as its writer says.
const (
	Change     Kind = "change" // also what a configuration says until somebody knows better
	Resync     Kind = "resync"
	Refresh    Kind = "refresh" // the daily repetition, of whatever
	Order      Kind = "order"   // a drain, a leave, a brake's decision, a resync that was asked for
	State      Kind = "state"   // a cluster's liveness, as the observer said
	Note       Kind = "note"
	Takeover   Kind = "takeover" // an epoch began
	Complete   Kind = "complete" // a writer had published all it owns
	Unreadable Kind = "unreadable"
)

// kinds are all of them, in the order in which they are told.
var kinds = []Kind{Change, Resync, Refresh, Order, State, Note, Takeover, Complete, Unreadable}

// ParseKind accepts the kinds, as they are written.
func ParseKind(s string) (Kind, error) {
	k := Kind(strings.ToLower(strings.TrimSpace(s)))
	if slices.Contains(kinds, k) {
		return k, nil
	}
	names := make([]string, len(kinds))
	for n, k := range kinds {
		names[n] = string(k)
	}
	return "", fmt.Errorf("%q is no kind of entry: write one of %s", clip(s), strings.Join(names, ", "))
}

// Entry is one message of the history, for a person: who, what and when. Its JSON form
// is part of the interface of the commands and the HTTP API.
type Entry struct {
	Sequence uint64 `json:"sequence"`
	Kind     Kind   `json:"kind"`
	About    string `json:"about"` // one sentence: what happened

	Cluster registry.ClusterID   `json:"cluster,omitempty"` // that it is about
	Service *registry.ServiceKey `json:"service,omitempty"`
	Fact    string               `json:"fact"`             // service, cluster, zone, epoch, …; "" when nobody can tell
	Target  string               `json:"target,omitempty"` // of an order; the kind of a note

	// Who.
	Writer registry.Writer `json:"writer,omitempty"`
	Agent  string          `json:"agent,omitempty"` // host and process, or a person
	By     string          `json:"by,omitempty"`    // of an order: on whose behalf
	Reason string          `json:"reason,omitempty"`

	// When, by whose clock.
	Stored time.Time `json:"stored"`          // the stream's
	Made   time.Time `json:"made,omitzero"`   // the writer's: when it made the event
	Seen   time.Time `json:"seen,omitzero"`   // the agent's: when it learnt it from the registry
	Index  string    `json:"index,omitempty"` // the registry's own word for the moment

	// Where in the writer's own count.
	Epoch    uint64 `json:"epoch,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	ID       string `json:"id,omitempty"`

	// What.
	Changes  []Difference      `json:"changes,omitempty"`  // field by field
	Serving  int               `json:"serving,omitempty"`  // of a service: instances that take traffic …
	Total    int               `json:"total,omitempty"`    // … of so many
	Redacted int               `json:"redacted,omitempty"` // metadata pairs that the agent withheld
	Data     map[string]string `json:"data,omitempty"`     // of a note
	Unusable *Unusable         `json:"unusable,omitempty"`

	// Event is the whole of it; nil when it is unreadable, or void. It is shared: don't change it.
	Event *registry.Event `json:"-"`
}

// Unusable says why nobody can use a message.
type Unusable struct {
	Reason string `json:"reason"` // countable: not-json, schema, foreign, fenced …
	Detail string `json:"detail"`
	Bytes  int    `json:"bytes"` // of its body
}
