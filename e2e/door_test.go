package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// door stands between an agent and its registry and can be shut, so that the
// registry is away for the agent while the test still changes it.
type door struct {
	port      int // of 127.0.0.1, where it listens first
	listeners []net.Listener
	wg        sync.WaitGroup

	mu    sync.Mutex // guards what follows
	shut  bool
	conns map[net.Conn]bool
}

// newDoor listens on a port of 127.0.0.1, and on those at the given distances from
// it, for the target's port and those at the same distances from that.
func newDoor(t *testing.T, target int, distances ...int) (d *door, address string) {
	t.Helper()
	d = &door{conns: map[net.Conn]bool{}}
	t.Cleanup(d.close)
	for range 100 {
		ports, err := servers.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		if err = d.listen(ports[0], target, distances); err == nil {
			d.port = ports[0]
			return d, fmt.Sprintf("127.0.0.1:%d", ports[0])
		}
	}
	t.Fatal("no free ports for a door")
	return nil, ""
}

func (d *door) listen(port, target int, distances []int) error {
	var opened []net.Listener
	for _, distance := range append([]int{0}, distances...) {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+distance))
		if err != nil {
			for _, o := range opened {
				err = errors.Join(err, o.Close())
			}
			return err
		}
		opened = append(opened, l)
	}
	for n, distance := range append([]int{0}, distances...) {
		d.listeners = append(d.listeners, opened[n])
		d.wg.Go(func() { d.serve(opened[n], fmt.Sprintf("127.0.0.1:%d", target+distance)) })
	}
	return nil
}

func (d *door) serve(l net.Listener, target string) {
	for {
		here, err := l.Accept()
		if err != nil {
			return
		}
		if !d.admit(here) {
			continue
		}
		d.wg.Go(func() {
			defer d.drop(here)
			there, err := net.Dial("tcp", target)
			if err != nil || !d.admit(there) {
				return
			}
			defer d.drop(there)
			d.wg.Go(func() {
				_, _ = io.Copy(there, here)
				_ = there.Close()
			})
			_, _ = io.Copy(here, there)
		})
	}
}

// admit keeps a connection, or closes it while the door is shut.
func (d *door) admit(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		_ = c.Close()
		return false
	}
	d.conns[c] = true
	return true
}

func (d *door) drop(c net.Conn) {
	_ = c.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
}

// set shuts the door, which breaks all connections, or opens it.
func (d *door) set(shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = shut
	if shut {
		for c := range d.conns {
			_ = c.Close()
		}
	}
}

func (d *door) close() {
	for _, l := range d.listeners {
		_ = l.Close()
	}
	d.set(true)
	d.wg.Wait()
}
