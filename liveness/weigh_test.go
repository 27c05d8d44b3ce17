package liveness_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seamark-mesh/seamark/liveness"
	"github.com/seamark-mesh/seamark/registry"
)

func trusted(string) bool { return false }

// ballot is one vantage point's word about gateways, by name: + reached, - failed.
func ballot(vantage string, words map[string]byte) liveness.Ballot {
	b := liveness.Ballot{Vantage: vantage, Cluster: "amber", Reached: map[string]bool{}}
	for name, w := range words {
		b.Reached[name] = w == '+'
	}
	return b
}

// TestWeigh goes through all that four vantage points, one of them the cluster's own
// agent, can say of one gateway.
func TestWeigh(t *testing.T) {
	t.Parallel()
	gateway := []registry.Gateway{{Name: "gw-1"}}
	words := []byte{'?', '+', '-'}
	for n := range 81 {
		var ballots []liveness.Ballot
		reach, fail := 0, 0
		for m, vantage := range []string{"_dns-a", "_dns-b", "bronze", "amber"} {
			word := words[n/[]int{1, 3, 9, 27}[m]%3]
			if word == '?' {
				continue
			}
			ballots = append(ballots, ballot(vantage, map[string]byte{"gw-1": word}))
			switch {
			case vantage == "amber": // has no vote on its own gateways
			case word == '+':
				reach++
			default:
				fail++
			}
		}
		want := liveness.GatewayFailed
		switch {
		case reach+fail == 0:
			want = liveness.NoVerdict
		case reach == fail:
			want = liveness.Tied
		case reach > fail:
			want = liveness.GatewayReached
		}
		got, votes := liveness.Weigh(gateway, ballots, trusted)
		if got[0] != want || len(votes) != reach+fail {
			t.Errorf("%d reach it, %d do not: Weigh() = %d, %v; want %d", reach, fail, got[0], votes, want)
		}
		for _, v := range votes {
			if v.Vantage == "amber" || v.Reached+v.Failed != 1 {
				t.Errorf("vote %+v", v)
			}
		}
	}
}

func TestWeighALoneVantagePoint(t *testing.T) {
	t.Parallel()
	gateways := []registry.Gateway{{Name: "gw-1"}, {Name: "gw-2"}, {Name: "gw-3"}}
	doubtful := func(vantage string) bool { return vantage == "_dns-a" }
	lone := ballot("_dns-a", map[string]byte{"gw-1": '-', "gw-2": '+'})
	second := ballot("_dns-b", map[string]byte{"gw-1": '-'})
	decided := []liveness.Verdict{liveness.GatewayFailed, liveness.GatewayReached, liveness.NoVerdict}
	undecided := []liveness.Verdict{liveness.Tied, liveness.GatewayReached, liveness.NoVerdict}
	for name, tt := range map[string]struct {
		ballots []liveness.Ballot
		doubt   func(string) bool
		want    []liveness.Verdict
	}{
		"it decides": {[]liveness.Ballot{lone}, trusted, decided},
		"in doubt, it proves what it reaches, no more":     {[]liveness.Ballot{lone}, doubtful, undecided},
		"in doubt, but another says so too":                {[]liveness.Ballot{lone, second}, doubtful, decided},
		"the cluster's own agent is no other":              {[]liveness.Ballot{lone, ballot("amber", map[string]byte{"gw-1": '-'})}, doubtful, undecided},
		"who says nothing of a gateway is no other either": {[]liveness.Ballot{lone, ballot("_dns-b", map[string]byte{"gw-2": '+'})}, doubtful, undecided},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, votes := liveness.Weigh(gateways, tt.ballots, tt.doubt)
			if !slices.Equal(got, tt.want) {
				t.Errorf("Weigh() = %v, want %v (%v)", got, tt.want, votes)
			}
		})
	}
}

func TestDoubtful(t *testing.T) {
	t.Parallel()
	of := func(cluster registry.ClusterID, words string) liveness.Ballot {
		b := liveness.Ballot{Vantage: "_dns-a", Cluster: cluster, Reached: map[string]bool{}}
		for n, w := range words {
			b.Reached[fmt.Sprint("gw-", n)] = w == '+'
		}
		return b
	}
	own := of("amber", "--")
	own.Vantage = "amber"
	for name, tt := range map[string]struct {
		ballots []liveness.Ballot
		want    bool
	}{
		"sees nothing":                       {nil, false},
		"one cluster fails":                  {[]liveness.Ballot{of("amber", "---")}, false},
		"one of two clusters fails":          {[]liveness.Ballot{of("amber", "---"), of("bronze", "+")}, false},
		"both fail":                          {[]liveness.Ballot{of("amber", "-"), of("bronze", "-")}, true},
		"half of all gateways":               {[]liveness.Ballot{of("amber", "-+"), of("bronze", "-+")}, false},
		"more than half":                     {[]liveness.Ballot{of("amber", "-+"), of("bronze", "--")}, true},
		"two of three clusters":              {[]liveness.Ballot{of("amber", "-"), of("bronze", "-"), of("cobalt", "+")}, true},
		"its own gateways do not count":      {[]liveness.Ballot{own, of("bronze", "+")}, false},
		"nor does its own cluster as second": {[]liveness.Ballot{own, of("bronze", "-")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ballots := tt.ballots
			if got := liveness.Doubtful(ballots); got != tt.want {
				t.Errorf("Doubtful() = %v, want %v", got, tt.want)
			}
		})
	}
}
