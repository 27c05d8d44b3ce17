package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent makes the kernel end a program when bench has ended.
func dieWithParent(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// ticks are what /proc counts processor time in, a second (USER_HZ).
const ticks = 100

// usage is what a process has used so far.
type usage struct {
	processor time.Duration // user and system
	resident  float64       // MB now
	peak      float64       // MB, the most there ever was
}

// usageOf reads what a process uses.
func usageOf(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name, in parentheses, may contain anything.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return u, err
		}
		u.processor += time.Duration(n) * time.Second / ticks
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes float64
		name, value, _ := strings.Cut(line, ":")
		if _, err := fmt.Sscanf(value, "%f kB", &kilobytes); err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			u.resident = kilobytes * 1024 / 1e6
		case "VmHWM":
			u.peak = kilobytes * 1024 / 1e6
		}
	}
	return u, nil
}

// serverPID finds the process that bench started in a folder.
func serverPID(dir string) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return 0, err
	}
	for _, link := range all {
		if at, err := os.Readlink(link); err == nil && at == dir {
			return strconv.Atoi(filepath.Base(filepath.Dir(link)))
		}
	}
	return 0, fmt.Errorf("no process works in %s", dir)
}

// connectionsTo counts a process's established TCP connections to a port.
func connectionsTo(pid, port int) (int, error) {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return 0, err
	}
	const established = "01"
	sockets := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 9 && fields[3] == established && strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", port)) {
			sockets["socket:["+fields[9]+"]"] = true
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, err
	}
	count := 0
	for _, f := range files {
		if at, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, f.Name())); err == nil && sockets[at] {
			count++
		}
	}
	return count, nil
}
