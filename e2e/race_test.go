//go:build race

package e2e

// raceFlags builds the daemons as this test was built.
var raceFlags = []string{"-race"}
