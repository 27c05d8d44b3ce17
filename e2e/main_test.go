package e2e

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// TestMain lets as many tests run at once as want to: most of the time they wait for
// other processes. How many meshes run beside each other is bounded by [together].
func TestMain(m *testing.M) {
	if port := os.Getenv(applicationPort); port != "" {
		os.Exit(beApplication(port))
	}
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", "256"); err != nil { // or a case of the matrix would wait for a test that waits for a place
			panic(err)
		}
	}
	code := m.Run()
	if err := removePrograms(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// places are for the tests that have a mesh of their own: what runs beside each other
// must leave each of them enough of two processors and of a small machine's memory.
var places = make(chan struct{}, 6)

// together lets a test run beside others, as soon as there is a place. The few that
// take by far the longest call t.Parallel alone: they wait for nobody, or they would
// begin last and be waited for. A test that says nothing runs alone, and says why.
func together(t *testing.T) {
	t.Helper()
	t.Parallel()
	places <- struct{}{}
	t.Cleanup(func() { <-places })
}
