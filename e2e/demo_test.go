package e2e

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// TestDemoTour runs what "make demo" runs, and ends after the tour: every step
// must hold.
func TestDemoTour(t *testing.T) {
	together(t)
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := servers.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	arguments := []string{"demo", "--tour", "--dir", t.TempDir()}
	for n, flag := range []string{"--dns", "--http", "--nats"} {
		arguments = append(arguments, flag, fmt.Sprintf("127.0.0.1:%d", ports[n]))
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "seamark"), arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("seamark %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	if !strings.Contains(string(out), "All 10 steps hold") {
		t.Errorf("the tour ended without a verdict:\n%s", out)
	}
}

// TestDemoSaysWhichPortIsTaken: the message names the address and the flag.
func TestDemoSaysWhichPortIsTaken(t *testing.T) {
	t.Parallel()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ports, err := servers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(dir, "seamark"), "demo", "--tour", "--dir", t.TempDir(), "--http", taken.Addr().String(),
		"--dns", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--nats", fmt.Sprintf("127.0.0.1:%d", ports[1])).CombinedOutput()
	if err == nil {
		t.Fatalf("the demo ran on a taken port:\n%s", out)
	}
	for _, part := range []string{taken.Addr().String(), "--http"} {
		if !strings.Contains(string(out), part) {
			t.Errorf("the message lacks %q:\n%s", part, out)
		}
	}
}
