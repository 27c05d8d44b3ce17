package stream

import (
	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// StoredDecoder understands messages of the history. It is [Decode] with a memory for
// what comes again and again. Make one with [NewStoredDecoder]; one goroutine uses it.
type StoredDecoder struct{ decoder *registry.Decoder }

// NewStoredDecoder returns a decoder.
func NewStoredDecoder() *StoredDecoder { return &StoredDecoder{registry.NewDecoder()} }

// Decode never fails: see [Decode].
func (d *StoredDecoder) Decode(m registry.Stored) registry.Message {
	decoded, _ := decode(d.decoder, item{
		subject: m.Subject, header: nats.Header(m.Header), data: m.Body, sequence: m.Sequence, stored: m.Time,
	})
	return decoded
}
