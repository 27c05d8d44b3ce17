package liveness

// MassTurn reports whether so many of all clusters turn away from up at once that
// it is rather the observer that has lost sight of them: more than half, two at least.
func MassTurn(turning, all int) bool { return turning >= 2 && 2*turning > all }

// Bounds of a withdrawal that needs no explanation.
const (
	withdrawalFloor   = 10 // services, or instances
	withdrawalPercent = 30 // of those that the cluster had
)

// MassWithdrawal reports whether a cluster that had so many services with instances, or
// so many instances, withdraws so many of them that its own brake should have held it.
func MassWithdrawal(withdrawn, had int) bool {
	return withdrawn >= withdrawalFloor && 100*withdrawn > withdrawalPercent*had
}
