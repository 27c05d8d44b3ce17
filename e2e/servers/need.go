package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Environment variables that say what becomes of a test whose server cannot be had.
const (
	// RequireEnv lists servers (by comma, or "all") without which a test fails. A build server sets it to "all".
	RequireEnv = "SEAMARK_REQUIRE"
	// NotRunEnv names a file to which each skipped test appends one line: which test, why, and what would enable it.
	// Whoever sets it prints the file at the end, because a skipped test looks like a passed one.
	NotRunEnv = "SEAMARK_NOT_RUN_FILE"
)

// Need makes sure that the named servers are built, building them if need be. Where one cannot be had, the test fails if
// [RequireEnv] asks for that server; otherwise it is skipped and recorded in [NotRunEnv]'s file.
//
// [Consul], [Nacos], [NATS] and [Shared.For] call it. A test calls it to say so before it does anything costly.
func Need(tb testing.TB, names ...string) {
	tb.Helper()
	for _, name := range names {
		if _, err := Build(tb.Context(), name); err != nil {
			giveUp(tb, err)
		}
	}
}

// Required says whether [RequireEnv] asks for a server.
func Required(name string) bool {
	required := strings.Split(strings.ReplaceAll(os.Getenv(RequireEnv), " ", ""), ",")
	return slices.Contains(required, "all") || slices.Contains(required, name)
}

// giveUp ends the test: a server that cannot be had here may be a skip, any other error is a failure.
func giveUp(tb testing.TB, err error) {
	tb.Helper()
	missing := new(UnavailableError)
	if !errors.As(err, &missing) {
		tb.Fatal(err)
	}
	if Required(missing.Server) {
		tb.Fatalf("%v\nto enable it: %s", err, missing.Enable)
	}
	NotRun(tb, missing)
}

// NotRun skips a test that lacks something that is no server of [Names], and records it in [NotRunEnv]'s file.
func NotRun(tb testing.TB, missing *UnavailableError) {
	tb.Helper()
	if err := recordNotRun(tb.Name(), missing); err != nil {
		tb.Fatalf("%v, and that could not be recorded: %v", missing, err)
	}
	tb.Skipf("not run: %v\nto enable it: %s", missing, missing.Enable)
}

// recordNotRun appends one line to [NotRunEnv]'s file. Several test binaries may do so at once.
func recordNotRun(test string, missing *UnavailableError) error {
	path := os.Getenv(NotRunEnv)
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	reason := strings.Join(strings.Fields(missing.Error()), " ") // a build's output has many lines
	reason = reason[:min(len(reason), 400)]
	binary := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
	_, err = fmt.Fprintf(file, "%s %s: %s; to enable it: %s\n", binary, test, reason, missing.Enable)
	return errors.Join(err, file.Close())
}
