package checkpoint_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry/checkpoint"
)

// TestMain writes checkpoints until it is killed, when it is asked to.
func TestMain(m *testing.M) {
	if path := os.Getenv("WRITE_CHECKPOINTS"); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

func writeForEver(path string) {
	f := checkpoint.Open(path, zone)
	var t testing.T
	c := of(world(&t, 2000))
	for sequence := c.Sequence; ; sequence++ {
		c.Sequence = sequence
		if _, err := f.Write(c); err != nil {
			os.Exit(3)
		}
	}
}

// A process that writes checkpoints is killed again and again: there is always one
// that can be read, and none is older than the one before the latest.
func TestKilledWhileItWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	rounds := 25
	torn := 0
	for range rounds {
		command := exec.Command(os.Args[0], "-test.run=^$")
		command.Env = append(os.Environ(), "WRITE_CHECKPOINTS="+path)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(path); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing is written")
			}
		}
		time.Sleep(50*time.Millisecond + rand.N(150*time.Millisecond))
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); err == nil {
			t.Fatal("it ended by itself")
		}
		if _, err := os.Stat(path + ".tmp"); err == nil {
			torn++
		}
		c, fault, err := checkpoint.Open(path, zone).Read()
		if err != nil || len(c.Facts) != 2007 {
			t.Fatalf("%d facts, fault %v, %v", len(c.Facts), fault, err)
		}
	}
	t.Logf("%d of %d were killed in the middle of a write", torn, rounds)
	if torn == 0 {
		t.Error("none was killed in the middle of a write: the test says nothing")
	}
}
