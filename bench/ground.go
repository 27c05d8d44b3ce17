package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// ground is what all measurements of a run stand on.
type ground struct {
	dir      string // temporary; everything that is started writes below
	programs string // where the daemons are
	options  options
	commit   string
	progress *progress
}

// newGround builds the daemons as they are shipped. The caller closes it.
func newGround(ctx context.Context, o options, say *progress) (*ground, error) {
	root, err := sourceRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "seamark-bench-")
	if err != nil {
		return nil, err
	}
	g := &ground{dir: dir, programs: filepath.Join(dir, "programs"), options: o, progress: say}
	if _, err := output(ctx, root, "go", "build", "-o", g.programs+string(filepath.Separator), "./cmd/edge-sync", "./cmd/global-dns"); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	// A tree without git has no commit, and can be measured all the same.
	if g.commit, err = output(ctx, root, "git", "describe", "--always", "--dirty", "--abbrev=10"); err != nil {
		g.commit = "unknown"
	}
	return g, nil
}

func (g *ground) close() { _ = os.RemoveAll(g.dir) } // what is left is in the system's temporary folder

// measure runs one measurement on a site of its own.
func (g *ground) measure(ctx context.Context, m measurement) (r result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.most, fmt.Errorf("it took longer than %v", m.most))
	defer cancel()
	s, err := g.newSite(m.name)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.say("begins: %s", m.about)
	r = result{
		Name: m.name, About: m.about, Began: time.Now(), Machine: machine(), Commit: g.commit, LoadBefore: loadAverage(),
		Quick: g.options.quick, Niceness: niceness(), Versions: map[string]string{"Go": runtime.Version()},
	}
	s.versions = r.Versions
	r.IdleBefore = "an unknown part"
	if idle, err := idleShare(ctx, time.Second); err == nil {
		r.IdleBefore = fmt.Sprintf("%.0f %%", 100*idle)
		if idle < 0.9 {
			s.say("the machine is busy with other things (idle for %s of the time): so are the figures", r.IdleBefore)
		}
	}
	if g.options.hold > 0 {
		r.Held = g.options.hold.String()
	}
	err = m.run(ctx, s, &r)
	if ctx.Err() != nil {
		return result{}, context.Cause(ctx)
	}
	r.Seconds, r.LoadAfter = time.Since(r.Began).Seconds(), loadAverage()
	return r, err
}

// sourceRoot is the folder of the module that the working directory belongs to.
func sourceRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "global-dns")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not inside Seamark's source tree")
		}
		dir = parent
	}
}

// output runs a program in dir and returns what it printed.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	dieWithParent(command)
	var printed, complained bytes.Buffer
	command.Stdout, command.Stderr = &printed, &complained
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, complained.String())
	}
	return strings.TrimSpace(printed.String()), nil
}

// machine describes the computer, without naming it.
func machine() string {
	cpu, memory, kernel := "unknown processor", "", ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			_, name, _ := strings.Cut(line, ":")
			cpu = strings.TrimSpace(name)
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes int
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes); err == nil {
			memory = fmt.Sprintf(", %d GB", (kilobytes+500_000)/1_000_000)
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = " " + strings.TrimSpace(string(text))
	}
	return fmt.Sprintf("%s, %d cores%s, %s/%s%s", cpu, runtime.NumCPU(), memory, runtime.GOOS, runtime.GOARCH, kernel)
}

// loadAverage is the system's, of 1, 5 and 15 minutes; "unknown" where it can't be read.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func versionList(versions map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		all = append(all, name+" "+versions[name])
	}
	return strings.Join(all, ", ")
}
