package liveness

import (
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
)

// Ballot is what one vantage point reports of one cluster, while that is fresh.
type Ballot struct {
	Vantage string
	Cluster registry.ClusterID
	Reached map[string]bool // by gateway's name; one that is not in it has no verdict
}

// own reports whether it comes from the cluster's own agent.
func (b Ballot) own() bool { return b.Vantage == string(b.Cluster) }

// Verdict is what the vantage points say of one gateway.
type Verdict uint8

// The values of [Verdict].
const (
	NoVerdict      Verdict = iota // nobody tells
	Tied                          // as many reach it as do not, or who says so is in doubt: nothing changes
	GatewayReached                // most reach it
	GatewayFailed                 // most do not
)

// Doubtful reports whether a vantage point, given all its ballots, sees so much fail
// that it is rather cut off itself: more than half of the gateways, of two clusters
// at least. It bears on those that are alone only, see [Weigh].
func Doubtful(ballots []Ballot) bool {
	gateways, failed, clusters := 0, 0, 0
	for _, b := range ballots {
		if b.own() {
			continue
		}
		before := failed
		for _, reached := range b.Reached {
			gateways++
			if !reached {
				failed++
			}
		}
		if failed > before {
			clusters++
		}
	}
	return clusters >= 2 && 2*failed > gateways
}

// Weigh returns the verdict about each of a cluster's gateways, by the majority of
// the ballots about that cluster, and who reported what, sorted by vantage point.
// The cluster's own agent has no vote. Where one vantage point alone tells of a
// gateway and is doubtful, its word that the gateway fails counts as a tie.
func Weigh(gateways []registry.Gateway, ballots []Ballot, doubtful func(vantage string) bool) ([]Verdict, []registry.Vote) {
	ballots = slices.DeleteFunc(slices.Clone(ballots), Ballot.own)
	slices.SortFunc(ballots, func(a, b Ballot) int { return strings.Compare(a.Vantage, b.Vantage) })
	votes := make([]registry.Vote, len(ballots))
	for n, b := range ballots {
		votes[n].Vantage = b.Vantage
	}
	verdicts := make([]Verdict, len(gateways))
	for n, g := range gateways {
		reach, fail, alone := 0, 0, ""
		for m, b := range ballots {
			reached, told := b.Reached[g.Name]
			switch {
			case !told:
				continue
			case reached:
				reach++
				votes[m].Reached++
			default:
				fail++
				votes[m].Failed++
			}
			alone = b.Vantage
		}
		switch {
		case reach+fail == 0:
		case reach == fail || reach+fail == 1 && fail == 1 && doubtful(alone):
			verdicts[n] = Tied
		case reach > fail:
			verdicts[n] = GatewayReached
		default:
			verdicts[n] = GatewayFailed
		}
	}
	votes = slices.DeleteFunc(votes, func(v registry.Vote) bool { return v.Reached+v.Failed == 0 })
	return verdicts, votes
}

// Settle returns which gateways fail, sorted, given those of which that is said now,
// and what follows for the cluster. A tie changes nothing; one of which nobody tells
// does not fail.
func Settle(gateways []registry.Gateway, verdicts []Verdict, failing []string) (next []string, reach Reach) {
	reach = ReachUntold
	for n, g := range gateways {
		if verdicts[n] != NoVerdict {
			reach = Reached
		}
		if verdicts[n] == GatewayFailed || verdicts[n] == Tied && slices.Contains(failing, g.Name) {
			next = append(next, g.Name)
		}
	}
	if len(next) > 0 && len(next) == len(gateways) {
		reach = NotReached
	}
	slices.Sort(next)
	return next, reach
}
