package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is what one run of dnsperf found.
type load struct {
	rate float64 // answers a second
	cost float64 // µs of the server's processor time per answer
	p50  float64 // ms; 0 when not measured
	p99  float64
}

// The cores: one for the server, one for who asks.
const (
	serverCore = "0"
	clientCore = "1"
)

// pinned is a command that runs on one core.
func pinned(core, program string, args ...string) (string, []string) {
	return "taskset", append([]string{"-c", core, program}, args...)
}

func available(program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is needed: install Debian's dnsperf, bind9-dnsutils, nsd, knot and util-linux", program)
	}
	return nil
}

// way is how dnsperf asks.
type way int

const (
	asFastAsItCan way = iota
	atRate            // offeredRate, and it also measures how long each answer takes
	overTCP           // as fast as it can
)

// ask lets dnsperf ask for a while.
func (s *site) ask(ctx context.Context, d running, address, queries string, lasts time.Duration, how way) (load, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return load{}, err
	}
	args := []string{"-s", host, "-p", port, "-d", queries, "-l", strconv.FormatFloat(lasts.Seconds(), 'f', 0, 64), "-e", "-T", "1", "-t", "1"}
	switch how {
	case asFastAsItCan:
		args = append(args, "-c", "128", "-q", "256")
	case atRate:
		args = append(args, "-c", "128", "-q", "256", "-Q", strconv.Itoa(offeredRate), "-v")
	case overTCP:
		args = append(args, "-m", "tcp", "-c", "20", "-q", "100")
	}
	before, err := usageOfTree(d.pid())
	if err != nil {
		return load{}, err
	}
	program, args := pinned(clientCore, "dnsperf", args...)
	command := exec.CommandContext(ctx, program, args...)
	dieWithParent(command)
	text, err := command.Output()
	if err != nil {
		return load{}, fmt.Errorf("dnsperf: %w", err)
	}
	after, err := usageOfTree(d.pid())
	if err != nil {
		return load{}, err
	}
	l, answers, err := readDNSPerf(text)
	if err != nil {
		return load{}, err
	}
	l.cost = float64((after - before).Microseconds()) / answers
	return l, nil
}

// readDNSPerf reads what dnsperf prints: its statistics, and with -v a line for each
// answer that ends with its time in seconds.
func readDNSPerf(text []byte) (l load, answers float64, err error) {
	var times []float64
	lost := 0.0
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "> ") && len(fields) >= 5:
			if t, err := strconv.ParseFloat(fields[len(fields)-1], 64); err == nil {
				times = append(times, 1000*t)
			}
		case strings.HasPrefix(line, "Queries completed:"):
			answers, err = strconv.ParseFloat(fields[2], 64)
		case strings.HasPrefix(line, "Queries lost:"):
			lost, err = strconv.ParseFloat(fields[2], 64)
		case strings.HasPrefix(line, "Queries per second:"):
			l.rate, err = strconv.ParseFloat(fields[3], 64)
		}
		if err != nil {
			return l, 0, fmt.Errorf("dnsperf printed %q: %w", line, err)
		}
	}
	if answers == 0 || lost > answers/50 {
		return l, 0, fmt.Errorf("%.0f answers and %.0f lost:\n%.2000s", answers, lost, text)
	}
	if len(times) > 0 {
		slices.Sort(times)
		l.p50, l.p99 = times[len(times)/2], times[len(times)*99/100]
	}
	return l, answers, nil
}
