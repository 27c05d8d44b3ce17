package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// contestants writes what each server needs, ours first.
func (s *site) contestants(ctx context.Context, services int, r *result) ([]*contestant, error) {
	queries, err := s.ourQuestions(services)
	if err != nil {
		return nil, err
	}
	ours := &contestant{name: "Seamark", queries: queries, streams: true, start: func(context.Context, *site) (running, string, error) { return s.serving, s.dns, nil }}
	zone, err := s.transferZone(ctx)
	if err != nil {
		return nil, err
	}
	all := []*contestant{ours}
	for _, rival := range []struct {
		name, program string
		about         []string // arguments that print the version
		start         func(ctx context.Context, program, zone string) (running, string, error)
	}{
		{"NSD", "nsd", []string{"-v"}, s.startNSD},
		{"Knot DNS", "knotd", []string{"-V"}, s.startKnot},
		{"CoreDNS file", "coredns", []string{"-version"}, s.startCoreDNS},
	} {
		program, err := s.find(ctx, rival.program)
		if err != nil {
			r.note("%s was left out: %v.", rival.name, err)
			continue
		}
		printed, _ := exec.CommandContext(ctx, program, rival.about...).CombinedOutput() // some end with 1
		s.versions[rival.name] = version(string(printed))
		all = append(all, &contestant{name: rival.name, queries: queries, streams: rival.program == "coredns", start: func(ctx context.Context, s *site) (running, string, error) {
			return rival.start(ctx, program, zone)
		}})
	}
	consul, err := s.consulDNS(ctx, services)
	if err != nil {
		return nil, err
	}
	return append(all, consul), nil
}

// find returns the path of a rival's program. CoreDNS is built from the module proxy once
// and kept, the others are the distribution's.
func (s *site) find(ctx context.Context, program string) (string, error) {
	if program != "coredns" {
		for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
				return path, nil
			}
		}
		return "", fmt.Errorf("%s is not installed", program)
	}
	path, err := servers.CoreDNS()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	s.say("building CoreDNS %s once (some minutes)", servers.CoreDNSVersion)
	command := exec.CommandContext(ctx, "go", "install", "github.com/coredns/coredns@"+servers.CoreDNSVersion)
	command.Dir, command.Env = os.TempDir(), append(os.Environ(), "GOBIN="+filepath.Dir(path))
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install: %w: %.500s", err, out)
	}
	return path, nil
}

// transferZone writes our zone as a master file.
func (s *site) transferZone(ctx context.Context) (string, error) {
	host, port, _ := strings.Cut(s.dns, ":")
	text, err := exec.CommandContext(ctx, "dig", "@"+host, "-p", port, "mesh.internal", "AXFR", "+onesoa", "+nocomments", "+nostats", "+nocmd", "+time=20").Output()
	if err != nil {
		return "", fmt.Errorf("dig AXFR: %w", err)
	}
	if !strings.Contains(string(text), "SRV") {
		return "", fmt.Errorf("the zone could not be transferred: %.500s", text)
	}
	path := filepath.Join(s.dir, "mesh.internal.zone")
	return path, os.WriteFile(path, text, 0o644)
}

// startRival starts a server on the server's core and waits until it answers.
func (s *site) startRival(ctx context.Context, address string, program string, args ...string) (running, string, error) {
	program, args = pinned(serverCore, program, args...)
	d, err := s.startDaemon(program, nil, args...)
	if err != nil {
		return nil, "", err
	}
	host, port, _ := strings.Cut(address, ":")
	err = s.eventually(ctx, time.Minute, d, func() error {
		out, err := exec.CommandContext(ctx, "dig", "@"+host, "-p", port, servingName(1), "A", "+short", "+time=1", "+tries=1").Output()
		if err == nil && !strings.Contains(string(out), "198.51.100.") {
			err = fmt.Errorf("it answers %q", out)
		}
		return err
	})
	if err != nil {
		_ = d.stop() // the reason is the error that there is
		return nil, "", err
	}
	return d, address, nil
}

// place makes a folder and an address for one start of a rival.
func (s *site) place(name string) (dir, address, port string, err error) {
	ports, err := servers.FreePorts(1)
	if err != nil {
		return "", "", "", err
	}
	dir, err = os.MkdirTemp(s.dir, name+"-")
	return dir, fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprint(ports[0]), err
}

func (s *site) startNSD(ctx context.Context, program, zone string) (running, string, error) {
	dir, address, port, err := s.place("nsd")
	if err != nil {
		return nil, "", err
	}
	conf := filepath.Join(dir, "nsd.conf")
	text := fmt.Sprintf(`server:
  ip-address: 127.0.0.1@%s
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: %q
  pidfile: %q
  xfrdfile: %q
  zonelistfile: %q
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: mesh.internal
  zonefile: %q
`, port, dir, filepath.Join(dir, "pid"), filepath.Join(dir, "xfrd"), filepath.Join(dir, "zones"), zone)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	return s.startRival(ctx, address, program, "-d", "-c", conf)
}

func (s *site) startKnot(ctx context.Context, program, zone string) (running, string, error) {
	dir, address, port, err := s.place("knot")
	if err != nil {
		return nil, "", err
	}
	conf := filepath.Join(dir, "knot.conf")
	text := fmt.Sprintf(`server:
  listen: 127.0.0.1@%s
  rundir: %q
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %q
zone:
  - domain: mesh.internal
    file: %q
    zonefile-sync: -1
`, port, dir, dir, zone)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	return s.startRival(ctx, address, program, "-c", conf)
}

func (s *site) startCoreDNS(ctx context.Context, program, zone string) (running, string, error) {
	dir, address, port, err := s.place("coredns")
	if err != nil {
		return nil, "", err
	}
	conf := filepath.Join(dir, "Corefile")
	text := fmt.Sprintf("mesh.internal:%s {\n  bind 127.0.0.1\n  file %q\n}\n", port, zone)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	return s.startRival(ctx, address, program, "-conf", conf)
}
