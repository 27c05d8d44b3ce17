package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// howToEnable is the one line for whoever has no docker.
const howToEnable = "install docker and compose, and start dockerd or run the tests as root (Debian: " +
	"apt-get install docker.io docker-compose busybox-static iproute2)"

// engine is a docker engine and a compose to drive it.
type engine struct {
	compose []string // the command
	environ []string // for docker and compose
	// dial connects to what the engine publishes on its loopback interface.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// need finds an engine, or starts one for this test, or ends the test as servers.Need does.
func need(t *testing.T) *engine {
	t.Helper()
	servers.Need(t, "consul", "nacos", "nats")
	if _, err := exec.LookPath("docker"); err != nil {
		giveUp(t, "no program docker on the PATH")
	}
	composes := findCompose(t)
	if len(composes) == 0 {
		giveUp(t, "neither docker compose nor docker-compose works")
	}
	e := &engine{compose: composes[0], environ: os.Environ(), dial: (&net.Dialer{}).DialContext}
	if err := e.answers(t.Context()); err == nil {
		return e
	}
	if err := e.start(t); err != nil {
		giveUp(t, err.Error())
	}
	return e
}

// findCompose returns every compose that works here, the newer kind first.
func findCompose(t *testing.T) [][]string {
	t.Helper()
	var found [][]string
	for _, c := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if version(t, c) != "" {
			found = append(found, c)
		}
	}
	return found
}

// version is what a compose says of itself, such as 1.29.2; "" when it does not work.
func version(t *testing.T, compose []string) string {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), compose[0], append(slices.Clone(compose[1:]), "version", "--short")...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(strings.TrimSpace(string(text)), "v")
}

// needCompose returns a compose of version 1, or of a later one. Where there is none the test is not run, whatever is required:
// version 1 is no longer maintained, the later ones are in no package of Debian's.
func needCompose(t *testing.T, first bool) []string {
	t.Helper()
	for _, c := range findCompose(t) {
		if strings.HasPrefix(version(t, c), "1.") == first {
			return c
		}
	}
	missing := &servers.UnavailableError{Server: "docker compose 2", Reason: "docker has no such plugin", Enable: "install the plugin docker-compose-plugin of docker's own packages"}
	if first {
		missing = &servers.UnavailableError{Server: "docker-compose 1.29", Reason: "it is not on the PATH", Enable: "apt-get install docker-compose (Debian 12)"}
	}
	servers.NotRun(t, missing)
	return nil
}

// answers asks the engine for its version.
func (e *engine) answers(ctx context.Context) error {
	_, err := e.run(ctx, "docker", "version", "--format", "{{.Server.Version}}")
	return err
}

// run runs a command for the engine and returns what it wrote to standard output.
func (e *engine) run(ctx context.Context, command ...string) (string, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = e.environ, root, 5*time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, tail(stdout.String()+stderr.String(), 4000))
	}
	return stdout.String(), nil
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// start runs a dockerd in network, mount and process namespaces of its own. With its first process all of it ends:
// containers, networks, firewall rules, mounts.
func (e *engine) start(t *testing.T) error {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("no docker engine answers, and only root on Linux can start one")
	}
	for _, program := range []string{"dockerd", "unshare", "ip", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("no docker engine answers, and to start one there is no program %s on the PATH", program)
		}
	}
	dir, err := os.MkdirTemp("", "seamark-docker-") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	group := "seamark-" + filepath.Base(dir)
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	daemon := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
		"sh", "-c", `ip link set lo up && exec dockerd --data-root "$0/data" --exec-root "$0/exec" --pidfile "$0/pid" --cgroup-parent "$1" --host "$2"`,
		dir, group, socket)
	daemon.Stdout, daemon.Stderr = log, log
	ended, err := startOwned(daemon)
	if err != nil {
		return fmt.Errorf("no docker engine answers, and none can be started: %w", err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill() // its namespaces go with it
		<-ended
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			left, _ := filepath.Glob(pattern + group)
			for _, directory := range left {
				removeGroup(directory)
			}
		}
		eventually(t, 20*time.Second, "the engine's directory can be removed", func() error { return os.RemoveAll(dir) })
	})
	namespace := fmt.Sprintf("/proc/%d/ns/net", daemon.Process.Pid)
	e.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialWithin(ctx, namespace, network, address)
	}
	e.environ = append(slices.Clone(e.environ), "DOCKER_HOST="+socket)
	deadline := time.Now().Add(time.Minute)
	for {
		answer := e.answers(t.Context())
		if answer == nil {
			return nil
		}
		select {
		case <-ended:
			answer = errors.New("it ended")
		case <-time.After(100 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return fmt.Errorf("no docker engine answers, and one that was started does not either: %w: %s", answer, tail(string(text), 1000))
	}
}

// removeGroup removes a control group and those within it, as far as they are empty.
func removeGroup(directory string) {
	within, _ := filepath.Glob(filepath.Join(directory, "*", ""))
	for _, d := range within {
		if info, err := os.Stat(d); err == nil && info.IsDir() {
			removeGroup(d)
		}
	}
	_ = os.Remove(directory)
}

// giveUp ends the test where docker cannot be had, as servers.Need does.
func giveUp(t *testing.T, reason string) {
	t.Helper()
	reason = strings.Join(strings.Fields(reason), " ")
	reason = reason[:min(len(reason), 400)]
	if servers.Required("docker") {
		t.Fatalf("docker is not available here: %s\nto enable it: %s", reason, howToEnable)
	}
	if path := os.Getenv(servers.NotRunEnv); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(file, "compose %s: docker is not available here: %s; to enable it: %s\n", t.Name(), reason, howToEnable)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	t.Skipf("not run: docker is not available here: %s\nto enable it: %s", reason, howToEnable)
}
