package probe

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func connecting(number syscall.Errno) error {
	return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", number)}
}

// An error that a router may have sent counts as this machine's only where its kernel knows
// no way either.
func TestNoWay(t *testing.T) {
	for name, c := range map[string]struct {
		err, look error
		want      bool
	}{
		"no route to the network":           {connecting(syscall.ENETUNREACH), connecting(syscall.ENETUNREACH), true},
		"a router knows none":               {connecting(syscall.ENETUNREACH), nil, false},
		"an unreachable route":              {connecting(syscall.EHOSTUNREACH), connecting(syscall.EHOSTUNREACH), true},
		"the host does not answer":          {connecting(syscall.EHOSTUNREACH), nil, false},
		"a prohibited route":                {connecting(syscall.EACCES), connecting(syscall.EACCES), true},
		"the interface is down":             {connecting(syscall.ENETDOWN), connecting(syscall.ENETDOWN), true},
		"no such version of IP":             {os.NewSyscallError("socket", syscall.EAFNOSUPPORT), syscall.EAFNOSUPPORT, true},
		"no address of that version of IP":  {connecting(syscall.EADDRNOTAVAIL), connecting(syscall.EADDRNOTAVAIL), true},
		"no port is free":                   {connecting(syscall.EADDRNOTAVAIL), nil, false},
		"a filter here forbids it":          {connecting(syscall.EPERM), nil, true},
		"refused":                           {connecting(syscall.ECONNREFUSED), syscall.ENETUNREACH, false},
		"no answer, and the route has gone": {context.DeadlineExceeded, syscall.ENETUNREACH, false},
	} {
		got := noWay(c.err, func() error { return c.look })
		if errors.Is(got, errNoWay) != c.want || !errors.Is(got, c.err) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLookFindsTheWay(t *testing.T) {
	if err := look(t.Context(), netip.MustParseAddrPort("127.0.0.1:9")); err != nil {
		t.Errorf("to this machine: %v", err)
	}
	if _, err := attempt(t.Context(), netip.MustParseAddr("224.0.0.1"), plan{kind: registry.ProbeTCP, port: 9}); err == nil || isLocal(err) {
		t.Errorf("TCP to a group of hosts: %v", err)
	}
}

// TestAGatewayThatThisMachineHasNoWayToIsNotFailed: a vantage point without IPv6 reported
// gateways that have only such addresses as not reached, and, alone, had them withdrawn.
func TestAGatewayThatThisMachineHasNoWayToIsNotFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		n := newNetwork()
		absent := noWay(connecting(syscall.ENETUNREACH), func() error { return syscall.ENETUNREACH })
		n.set("2001:db8::1", absent)
		p, stop := run(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("six", "2001:db8::1"), gw("both", "192.0.2.1", "2001:db8::1"), gw("four", "192.0.2.2")})
		time.Sleep(time.Minute)
		if got := verdicts(p, "amber"); got != "both+ four+" || p.Counts().Failed != 0 || p.Counts().Local == 0 {
			t.Errorf("amber is %s, %+v", got, p.Counts())
		}
		if lines := strings.Count(log.String(), "can't be probed"); lines != 1 {
			t.Errorf("said %d times:\n%s", lines, log.String())
		}
		n.set("192.0.2.1", errDown) // what can be tried from here tells
		time.Sleep(time.Minute)
		if got := verdicts(p, "amber"); got != "both- four+" {
			t.Errorf("amber is %s, one that is down at the only address that can be tried should be failed", got)
		}
		n.set("192.0.2.2", absent) // what was known long ago is known no more
		time.Sleep(time.Minute)
		if got := verdicts(p, "amber"); got != "both-" {
			t.Errorf("amber is %s, without a way to four", got)
		}
		n.set("192.0.2.2", nil)
		n.set("2001:db8::1", nil)
		time.Sleep(time.Minute)
		if got := verdicts(p, "amber"); got != "both+ four+ six+" {
			t.Errorf("amber is %s, with a way to all", got)
		}
	})
}

// TestAKnownFailureOutlivesTheWay: a gateway that was known to have failed was forgotten when
// this machine lost its way there, and dead gateways came back into the answers.
func TestAKnownFailureOutlivesTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.set("192.0.2.1", errDown)
		p, stop := run(t, Config{}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("dead", "192.0.2.1"), gw("good", "192.0.2.2")})
		time.Sleep(time.Minute)
		absent := noWay(connecting(syscall.ENETUNREACH), func() error { return syscall.ENETUNREACH })
		n.set("192.0.2.1", absent)
		n.set("192.0.2.2", absent)
		time.Sleep(time.Minute)
		if got := verdicts(p, "amber"); got != "dead-" {
			t.Errorf("amber is %s, without a way to it", got)
		}
		if all := p.Verdicts("amber"); len(all) == 1 && all[0].Error == "" {
			t.Error("why it has failed was forgotten")
		}
		n.set("192.0.2.1", nil)
		n.set("192.0.2.2", nil)
		time.Sleep(time.Minute)
		if got := verdicts(p, "amber"); got != "dead+ good+" {
			t.Errorf("amber is %s, with a way to it", got)
		}
	})
}
