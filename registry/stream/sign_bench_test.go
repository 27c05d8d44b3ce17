package stream_test

import (
	"crypto/ed25519"
	"fmt"
	"testing"

	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// BenchmarkPublishSigned compares Publish with and without a key.
func BenchmarkPublishSigned(b *testing.B) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, together := range []int{1, 200} {
		for _, signed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d together/signed %v", together, signed), func(b *testing.B) {
				_, c := streamtest.Streams(b)
				if signed {
					c.SignWith(seed{private})
				}
				a, w := newAuthor("amber"), c.Writer("amber")
				fence := a.begin(b, w, 0)
				for b.Loop() {
					publish(b, w, fence, a.services(together, "svc")...)
				}
				b.ReportMetric(float64(together*b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkSeal is what signing one message costs, and what its digest does.
func BenchmarkSeal(b *testing.B) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	header := map[string][]string{
		"Nats-Msg-Id": {"amber-1-2-x"}, "Seamark-Epoch": {"1"}, "Seamark-Revision": {"2"}, "Content-Type": {"application/json"},
		"ce-specversion": {"1.0"}, "ce-id": {"amber-1-2-x"}, "ce-type": {"seamark.service.v1"}, "ce-source": {"/seamark/amber"},
	}
	body := make([]byte, 600)
	b.Run("digest", func(b *testing.B) {
		for b.Loop() {
			stream.LinkOf("mesh.v1.amber.svc.default.x", header, body)
		}
	})
	b.Run("signature", func(b *testing.B) {
		link := stream.LinkOf("mesh.v1.amber.svc.default.x", header, body)
		for b.Loop() {
			if _, err := (seed{private}).Sign(stream.Statement(link)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
