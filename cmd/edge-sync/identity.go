package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// identity names a process, unlike any other's: a lease says by it who holds it. As a text
// it is <host>/<pid>/<scope>-<start>, or <host>/<pid>/<random> where the system tells too little.
type identity struct {
	host  string
	pid   int
	scope string // of its number: this boot of this machine, and this namespace of processes
	start uint64 // when it began, in the system's ticks since the boot
	proc  string // where the system tells of processes
}

// newIdentity returns this process's identity. Proc is /proc.
func newIdentity(proc string) identity {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	self := identity{host: host, pid: os.Getpid(), proc: proc}
	boot, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return self
	}
	namespace, err := os.Readlink(filepath.Join(proc, "self/ns/pid"))
	if err != nil {
		return self
	}
	if self.start, err = startOf(proc, self.pid); err != nil {
		return self
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(string(boot)) + namespace))
	self.scope = hex.EncodeToString(sum[:4])
	return self
}

// String returns the name.
func (i identity) String() string {
	if i.scope == "" {
		return fmt.Sprintf("%s/%d/%s", i.host, i.pid, strings.ToLower(rand.Text()[:6]))
	}
	return fmt.Sprintf("%s/%d/%s-%d", i.host, i.pid, i.scope, i.start)
}

// ended reports whether the process of this name has ended for certain: it ran where this
// one does (the same boot, the same namespace of processes, else its number says nothing),
// and its number belongs to nobody, or to one that began at another time. Whoever it can't
// tell of may be alive. A wrong answer would cost a takeover, never two writers.
func (i identity) ended(name string) bool {
	rest, ours := strings.CutPrefix(name, i.host+"/")
	number, mark, ok := strings.Cut(rest, "/")
	ticks, same := strings.CutPrefix(mark, i.scope+"-")
	if !ours || !ok || !same || i.scope == "" {
		return false
	}
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return false
	}
	start, err := strconv.ParseUint(ticks, 10, 64)
	if err != nil {
		return false
	}
	now, err := startOf(i.proc, pid)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = startOf(i.proc, i.pid) // is anything to be seen there at all?
		return err == nil && !runs(pid)
	}
	return err == nil && now != start
}

// runs asks the kernel whether a process has this number: /proc may hide those of other
// users. Where it can't tell, one has.
func runs(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return true
	}
	defer p.Release()                                                 //nolint:errcheck // nothing is waited for
	return !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone) // not permitted: it runs
}

// startOf returns when a process began: the 22nd field of its stat, see proc(5).
func startOf(proc string, pid int) (ticks uint64, err error) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	const before = 19 // fields between the name, which is in parentheses and may have any in it, and the start
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= before {
		return 0, fmt.Errorf("the stat of process %d has %d fields after its name", pid, len(fields))
	}
	return strconv.ParseUint(fields[before], 10, 64)
}
