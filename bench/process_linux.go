package main

import (
	"context"
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

// niceness is the priority that everything here runs with: 0 is the usual one, −20
// the highest.
func niceness() int {
	const usual = 20 // the kernel counts downwards from here
	raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return usual - raw
}

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

// idleShare measures for a while which part of the processors' time nobody uses, 0 to 1.
func idleShare(ctx context.Context, span time.Duration) (float64, error) {
	idleBefore, allBefore, err := processorTimes()
	if err != nil {
		return 0, err
	}
	if !pause(ctx, span) {
		return 0, context.Cause(ctx)
	}
	idleAfter, allAfter, err := processorTimes()
	if err != nil {
		return 0, err
	}
	return (idleAfter - idleBefore) / max(allAfter-allBefore, 1), nil
}

// processorTimes are ticks of all processors since the system started.
func processorTimes() (idle, all float64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	const counted = 9 // the name, user, nice, system, idle, waiting, interrupts (2), stolen; guests are in user
	if len(fields) < counted {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for n, field := range fields[1:counted] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, 0, err
		}
		if all += ticks; n == 3 || n == 4 {
			idle += ticks
		}
	}
	return idle, all, nil
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

// usageOfTree returns the processor time of a process and of all below it.
func usageOfTree(pid int) (time.Duration, error) {
	u, err := usageOf(pid)
	if err != nil {
		return 0, err
	}
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	total := u.processor
	for _, file := range children {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return 0, err
			}
			below, err := usageOfTree(child)
			if err != nil {
				return 0, err
			}
			total += below
		}
	}
	return total, nil
}
