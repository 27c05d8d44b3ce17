package proc

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHealth asks a server of this package, as a container's health check would.
func TestHealth(t *testing.T) {
	well, _ := serve(t, HTTPConfig{})
	waits, _ := serve(t, HTTPConfig{Ready: func() error { return errors.New("the stream is not read yet") }})
	address := func(url string) string { return strings.TrimPrefix(url, "http://") }
	_, port, err := net.SplitHostPort(address(well))
	if err != nil {
		t.Fatal(err)
	}
	gone, end := serve(t, HTTPConfig{})
	if err := end(); err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "d.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, tt := range map[string]struct {
		args, environ  []string
		code           int
		stdout, stderr string
	}{
		"alive":               {args: []string{"--http", address(well)}, stdout: "=ok\n"},
		"ready":               {args: []string{"--ready", "--http", address(well)}, stdout: "=ready\n"},
		"alive, not ready":    {args: []string{"--http", address(waits)}, stdout: "=ok\n"},
		"not ready":           {args: []string{"--ready", "--http", address(waits)}, code: 1, stderr: "testd: the stream is not read yet\n"},
		"nobody answers":      {args: []string{"--http", address(gone)}, code: 1, stderr: "connection refused"},
		"all interfaces":      {args: []string{"--http", ":" + port}, stdout: "=ok\n"},
		"all of IPv4":         {args: []string{"--http", "0.0.0.0:" + port}, stdout: "=ok\n"},
		"from the file":       {args: []string{"--config", file("name: x\nhttp: " + address(well))}, stdout: "=ok\n"},
		"from a spoilt file":  {args: []string{"--config", file("nmae: [x\nhttp: x")}, code: 2, stderr: "d.yaml:"},
		"from the variable":   {environ: []string{"SEAMARK_HTTP=" + address(well)}, stdout: "=ok\n"},
		"the default address": {code: 1, stderr: "dial tcp 127.0.0.1:1: "},
		"any port":            {args: []string{"--http", "127.0.0.1:0"}, code: 2, stderr: "give it as --http HOST:PORT"},
		"no address":          {args: []string{"--http", "x"}, code: 2, stderr: `http is "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := Execute(t.Context(), NewCommand(daemon(nil), tt.environ), append([]string{"health"}, tt.args...), &stdout, &stderr)
			if code != tt.code || !matches(stdout.String(), tt.stdout) || !matches(stderr.String(), tt.stderr) {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s\nwant %d, %q, %q", code, stdout.String(), stderr.String(), tt.code, tt.stdout, tt.stderr)
			}
		})
	}
}
