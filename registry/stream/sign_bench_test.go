package stream_test

import (
	"crypto/ed25519"
	"fmt"
	"testing"

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
