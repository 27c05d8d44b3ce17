package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// fakeProc is a system on which these processes run, each since these ticks.
func fakeProc(t *testing.T, boot, namespace string, running map[int]int) string {
	t.Helper()
	proc := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("sys/kernel/random/boot_id", boot+"\n")
	write("self/ns/other", "")
	if err := os.Symlink(namespace, filepath.Join(proc, "self/ns/pid")); err != nil {
		t.Fatal(err)
	}
	for pid, start := range running {
		write(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (a ) name (x) S 1%s %d 4096 25\n", pid, strings.Repeat(" 0", 17), start))
	}
	return proc
}

// as is the name of another process in the same place.
func as(i identity, pid int, start uint64) string {
	i.pid, i.start = pid, start
	return i.String()
}

func TestWhoHasEnded(t *testing.T) {
	self := os.Getpid()
	here := newIdentity(fakeProc(t, "boot-1", "pid:[1]", map[int]int{self: 500, 2_000_001: 700}))
	other := func(boot, namespace string) identity {
		return newIdentity(fakeProc(t, boot, namespace, map[int]int{self: 500}))
	}
	elsewhere := here
	elsewhere.host = "elsewhere"
	for name, test := range map[string]struct {
		agent string
		want  bool
	}{
		"this one":                           {here.String(), false},
		"one that runs":                      {as(here, 2_000_001, 700), false},
		"one whose number nobody has":        {as(here, 5_000_002, 700), true},
		"one whose number another has":       {as(here, 2_000_001, 699), true},
		"one before, with this one's number": {as(here, self, 499), true},
		"one of another boot":                {as(other("boot-2", "pid:[1]"), 5_000_002, 700), false},
		"one in another container":           {as(other("boot-1", "pid:[2]"), 5_000_002, 700), false},
		"one on another host":                {as(elsewhere, 5_000_002, 700), false},
		"one of an older version":            {here.host + "/5000002/abcdef", false},
		"nobody":                             {"", false},
		"no number":                          {strings.Replace(as(here, 5_000_002, 700), "5000002", "-2", 1), false},
		"no start":                           {strings.TrimSuffix(as(here, 5_000_002, 700), "700"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := here.ended(test.agent); got != test.want {
				t.Errorf("%q has ended: %v", test.agent, got)
			}
		})
	}
}

// TestAProcessThatIsHiddenHasNotEnded: of another user's process nothing is to be seen in
// /proc where that is mounted with hidepid=2. Two agents under two users took each other for
// ended, and took the lease from each other for ever.
func TestAProcessThatIsHiddenHasNotEnded(t *testing.T) {
	command := exec.CommandContext(t.Context(), "sleep", "600")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	sees := func(pid, start int) identity { // itself alone
		i := newIdentity(fakeProc(t, "boot-1", "pid:[1]", map[int]int{os.Getpid(): 1, pid: start}))
		if pid != os.Getpid() {
			if err := os.RemoveAll(filepath.Join(i.proc, strconv.Itoa(os.Getpid()))); err != nil {
				t.Fatal(err)
			}
		}
		i.pid, i.start = pid, uint64(start)
		return i
	}
	one, other := sees(os.Getpid(), 500), sees(command.Process.Pid, 700)
	if one.ended(other.String()) || other.ended(one.String()) {
		t.Errorf("ended: the other %v, the one %v; both run", one.ended(other.String()), other.ended(one.String()))
	}
	if first := as(one, 1, 3); one.ended(first) { // of another user, unless this one is root
		t.Errorf("%s has ended", first)
	}
	_ = command.Process.Kill()
	_ = command.Wait()
	if !one.ended(other.String()) {
		t.Error("one that was killed has not ended")
	}
}

// Where the system tells nothing, names are unique none the less, and nobody has ended.
func TestIdentityWhereTheSystemTellsNothing(t *testing.T) {
	i := newIdentity(filepath.Join(t.TempDir(), "nothing"))
	if a, b := i.String(), i.String(); a == b || i.ended(a) || i.ended(i.host+"/5000002/-7") {
		t.Errorf("%q and %q", a, b)
	}
	gone := newIdentity(fakeProc(t, "boot-1", "pid:[1]", map[int]int{os.Getpid(): 500}))
	if err := os.RemoveAll(gone.proc); err != nil {
		t.Fatal(err)
	}
	if gone.ended(as(gone, 5_000_002, 700)) {
		t.Error("where nothing is to be seen any more, somebody has ended")
	}
}

// On this system, if it is one that tells: a process runs until it was killed.
func TestAKilledProcessHasEnded(t *testing.T) {
	self := newIdentity("/proc")
	tells := self.scope != ""
	command := exec.CommandContext(t.Context(), "sleep", "600")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := startOf("/proc", command.Process.Pid)
	if tells && err != nil {
		t.Fatal(err)
	}
	agent := as(self, command.Process.Pid, start)
	if self.ended(agent) {
		t.Errorf("%s has ended, though it runs", agent)
	}
	_ = command.Process.Kill()
	_ = command.Wait()
	if got := self.ended(agent); got != tells {
		t.Errorf("%s has ended: %v, though it was killed", agent, got)
	}
}
