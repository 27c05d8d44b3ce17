package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// recipe says how one kind of server is built.
type recipe struct {
	name     string
	what     string   // for the one who waits: what is built, from what, how long it takes
	programs []string // must be on PATH, to build or to run
	enable   string   // one line: what to do when it cannot be had
	// key names the result: two equal keys mean interchangeable builds.
	key func(ctx context.Context, source string) (string, error)
	// build makes the server in the empty directory out, from the directory e2e/servers of the source tree.
	build func(ctx context.Context, source, out string) error
}

// recipes in the order in which they are best built: the longest last.
func recipes() []recipe { return []recipe{natsRecipe(), nacosRecipe(), consulRecipe()} }

// Names are the servers that this package knows: the arguments of [Build] and [Need].
func Names() []string {
	var names []string
	for _, r := range recipes() {
		names = append(names, r.name)
	}
	return names
}

// UnavailableError says that a server cannot be had on this machine: a program is missing, or its build did not work.
type UnavailableError struct {
	Server string // one of [Names]
	Reason string // one line, or a line and a build's output below it
	Enable string // one line: what would make it available
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("%s is not available here: %s", e.Server, e.Reason)
}

// failureIsFresh is how long a failed build is believed, so that the tests of one run need not each repeat it.
const failureIsFresh = 3 * time.Minute

// Build returns the directory of a built server, and builds it first where the cache has none.
//
// The cache is $SEAMARK_CACHE/servers, or seamark/servers in the user's cache directory. An entry's name holds its
// version or a hash of its definition, so a changed definition makes a new entry. Only one process builds a server,
// the others wait for it; an entry appears whole or not at all. Progress goes to standard error.
//
// When the server cannot be had the error is an [*UnavailableError]. A build that failed is not tried again for three
// minutes; [Rebuild] is not so patient.
func Build(ctx context.Context, name string) (string, error) {
	return buildNamed(ctx, name, failureIsFresh)
}

// Rebuild is [Build], but it does not believe in an earlier failure.
func Rebuild(ctx context.Context, name string) (string, error) {
	return buildNamed(ctx, name, 0)
}

func buildNamed(ctx context.Context, name string, believe time.Duration) (string, error) {
	for _, r := range recipes() {
		if r.name == name {
			return r.built(ctx, believe)
		}
	}
	return "", fmt.Errorf("no server is called %q, only %s", name, strings.Join(Names(), ", "))
}

// built returns the result's directory. A failure that is not older than believe stands.
func (r recipe) built(ctx context.Context, believe time.Duration) (string, error) {
	for _, program := range r.programs {
		if _, err := exec.LookPath(program); err != nil {
			return "", r.unavailable(fmt.Errorf("no program %q on the PATH", program))
		}
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	source, err := sourceDir()
	if err != nil {
		return "", err
	}
	key, err := r.key(ctx, source)
	if err != nil {
		return "", r.unavailable(err)
	}
	result := filepath.Join(cache, r.name+"-"+key)
	if exists(result) {
		return result, nil
	}

	show := newProgress(os.Stderr, r.name)
	defer show.done()
	show.say("waiting for another process that is building it")
	unlock, err := lock(ctx, filepath.Join(cache, r.name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(result) {
		return result, nil
	}
	if err := recentFailure(result, believe); err != nil {
		return "", r.unavailable(err)
	}
	show.say("building " + r.what + ", once, into " + result)
	err = r.buildInto(ctx, source, result)
	switch {
	case err == nil:
		show.say("built")
		return result, nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: build interrupted: %w", r.name, context.Cause(ctx))
	default:
		show.say("not built")
		rememberFailure(result, err)
		return "", r.unavailable(err)
	}
}

// buildInto makes result appear in one step. The lock is held, so the partial directory is this process's own, perhaps
// left by one that was killed.
func (r recipe) buildInto(ctx context.Context, source, result string) error {
	partial := result + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.MkdirAll(partial, 0o755)); err != nil {
		return err
	}
	if err := r.build(ctx, source, partial); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return os.Rename(partial, result)
}

func failureFile(result string) string { return result + ".failed" }

// recentFailure is the build's failure if there was one not longer ago than believe.
func recentFailure(result string, believe time.Duration) error {
	info, err := os.Stat(failureFile(result))
	if err != nil {
		return nil // never failed
	}
	ago := time.Since(info.ModTime())
	if ago > believe {
		return nil
	}
	reason, err := os.ReadFile(failureFile(result))
	if err != nil {
		return err
	}
	return fmt.Errorf("its build failed %v ago: %s", ago.Round(time.Second), reason)
}

// rememberFailure spares later tests the same wait. Where it cannot, they wait.
func rememberFailure(result string, failure error) {
	_ = os.WriteFile(failureFile(result), []byte(failure.Error()), 0o644)
}

func (r recipe) unavailable(err error) error {
	return &UnavailableError{Server: r.name, Reason: err.Error(), Enable: r.enable}
}

// cacheDir is where built servers are kept; it exists afterwards.
func cacheDir() (string, error) {
	root, err := Cache()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "servers")
	return dir, os.MkdirAll(dir, 0o755)
}

// Cache returns the directory in which everything is kept that takes long to build: $SEAMARK_CACHE, or seamark in the
// user's cache directory. It is absolute, and need not exist.
func Cache() (dir string, err error) {
	dir = os.Getenv("SEAMARK_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache directory, set SEAMARK_CACHE: %w", err)
		}
		dir = filepath.Join(user, "seamark")
	}
	return filepath.Abs(dir)
}

// sourceDir is the directory e2e/servers of the tree that the working directory belongs to. The definitions cannot be
// embedded instead: a file of another Go module (consul/) can't be.
func sourceDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(dir, "e2e", "servers")
		if exists(filepath.Join(source, "consul", "go.mod")) {
			return source, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not inside Seamark's source tree")
		}
		dir = parent
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
