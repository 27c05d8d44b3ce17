package chain

import (
	"errors"
	"fmt"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Check says why a message does not prove that its writer wrote it; nil: it does, or need
// not. It must be as its digest says and signed by a key that is its writer's. Only what
// was stored before the writer's first key was valid need not, and the notes that fill up a
// stream. A writer without any key proves nothing.
//
// It is a stream.Check, and looks at the message alone: that it is old, and was stored
// again, only a [Verifier] finds.
func (k *Keys) Check(m registry.Stored) error {
	o := Options{Keys: k}
	x := o.examine(m)
	switch {
	case x.foreign: // it is refused for its subject
		return nil
	case x.fault != nil:
		return fmt.Errorf("%s: %s", x.fault.Kind, x.fault.Detail)
	case x.key != "" && len(k.of(x.fact.Writer)) > 0, x.fills():
		return nil
	case x.key == "" && len(k.of(x.fact.Writer)) > 0: // before it had a key
		return nil
	}
	return fmt.Errorf("%s has no key: %w", x.fact.Writer, errNoKey)
}

var errNoKey = errors.New("nobody may sign for it")

// of returns a writer's keys.
func (k *Keys) of(w registry.Writer) []key {
	if k == nil {
		return nil
	}
	return k.writers[w]
}

// Check is what a connection takes.
var _ stream.Check = (*Keys)(nil).Check
