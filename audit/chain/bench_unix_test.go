//go:build unix

package chain_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit/chain"
)

// written makes a history of 50,000 messages with bodies of some 600 bytes.
func written(b *testing.B, signed bool) *history {
	h := newHistory()
	a := &author{history: h, writer: "amber", epoch: 1000, filling: 550}
	if signed {
		a.signer = signer(b)
	}
	a.begin()
	for n := range 50_000 {
		h.store(a.message(service(n % 10_000)))
	}
	return h
}

// processorTime is what this process has used of it.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func measure(b *testing.B, h *history, verify func() chain.Report) {
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		if r := verify(); !r.Intact() {
			b.Fatal(r.Faults[0])
		}
	}
	b.ReportMetric(float64(len(h.messages)*b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(len(h.messages)*b.N)/(processorTime(b)-before).Seconds(), "messages/cpu-s")
}

func BenchmarkVerify(b *testing.B) {
	for name, signed := range map[string]bool{"chain": false, "signatures": true} {
		h := written(b, signed)
		b.Run(name+"/one core", func(b *testing.B) {
			measure(b, h, func() chain.Report { return verify(h.messages, chain.Options{Whole: true}) })
		})
		b.Run(name+"/all cores", func(b *testing.B) {
			measure(b, h, func() chain.Report {
				r, err := chain.VerifyAgainst(b.Context(), chain.Options{Whole: true}, sequence(h.messages))
				if err != nil {
					b.Fatal(err)
				}
				return r
			})
		})
	}
}
