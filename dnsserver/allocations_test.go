package dnsserver

import (
	"log/slog"
	"net/netip"
	"testing"
)

// TestAllocations holds the complete path to its budget: what it spends per
// answer is records and the name, nothing that grows. The race detector adds two to SRV.
func TestAllocations(t *testing.T) {
	s, err := New(Config{Listen: []string{"127.0.0.1:0"}}, harbours(), nobody{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a := s.newAnswerer(UDP)
	for name, budget := range map[string]float64{"A": 8, "SRV": 32, "NXDOMAIN": 4} {
		query := benchmarkQueries[name]
		if got := testing.AllocsPerRun(200, func() { a.answer(query, netip.Addr{}) }); got > budget {
			t.Errorf("%s: %v allocations, more than %v", name, got, budget)
		}
	}
}
