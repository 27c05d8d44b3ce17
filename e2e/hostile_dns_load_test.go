//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// How many of each there are.
const (
	idlers     = 10_000
	resets     = 2_000
	slowOnes   = 60
	neverReads = 6 // each makes the server fill some megabytes with the largest answers
	pipelined  = 10_000
)

// watch asks over UDP all the time, and returns how long the slowest answer took.
func (x *target) watch(t *testing.T) (stop func() (asked int, slowest time.Duration)) {
	conn := x.from(t, "udp", "127.0.8.8")
	_ = conn.SetWriteDeadline(time.Time{})
	end, done := make(chan struct{}), make(chan struct{})
	asked, slowest := 0, time.Duration(0)
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case <-time.After(5 * time.Millisecond):
			}
			began := time.Now()
			if reply := x.exchange(t, conn, plain, 15*time.Second); reply == nil || reply[3]&15 != 0 {
				t.Errorf("over UDP no answer, but %x, after %v", reply, time.Since(began))
				return
			}
			asked++
			slowest = max(slowest, time.Since(began))
		}
	}()
	return func() (int, time.Duration) { close(end); <-done; return asked, slowest }
}

// streams: whatever is done to TCP, UDP goes on, connections stay within their bounds,
// and what is well-behaved among them is answered.
func (x *target) streams(t *testing.T) {
	stop := x.watch(t)
	most := atomic.Int64{}
	watched, watching := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watching)
		for {
			_, files := x.status(t)
			most.Store(max(most.Load(), int64(files)))
			select {
			case <-watched:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	var wg sync.WaitGroup
	for _, abuse := range []func(*testing.T){x.idleOnes, x.slowOnes, x.neverReads, x.resets, x.halfClosed, x.pipelined, x.lengths} {
		wg.Go(func() { abuse(t) })
	}
	wg.Wait()
	close(watched)
	<-watching
	asked, slowest := stop()
	t.Logf("meanwhile %d answers over UDP, the slowest after %v, and at most %d files", asked, slowest, most.Load())
	patience := 2 * time.Second
	if len(raceFlags) > 0 { // the largest answers cost ten times as much then
		patience = 8 * time.Second
	}
	if slowest > patience || asked < 100 {
		t.Errorf("UDP suffered: %d answers, the slowest after %v", asked, slowest)
	}
	if most.Load() > maxConnections+100 {
		t.Errorf("%d files were open", most.Load())
	}
	for reason, least := range map[string]float64{"per-address": idlers / 2, "slow-reader": neverReads, "incomplete": slowOnes} {
		if n := x.metric(t, "seamark_dns_dropped_total", `protocol="tcp",reason="`+reason+`"`); n < least {
			t.Errorf("%v connections ended as %s, want at least %v", n, reason, least)
		}
	}
}

// ends reads from a connection until the server ends it, and returns what came.
func ends(t *testing.T, what string, conn net.Conn) (came int64) {
	came, err := io.Copy(io.Discard, conn)
	if timeout := net.Error(nil); err != nil && asTimeout(err, &timeout) {
		t.Errorf("%s: the server keeps the connection", what)
	}
	return came
}

func asTimeout(err error, timeout *net.Error) bool {
	failed, ok := err.(net.Error)
	*timeout = failed
	return ok && failed.Timeout()
}

// idleOnes: ten thousand connections of one address that say nothing. All but a few
// are closed at once, and those when they have been idle.
func (x *target) idleOnes(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var open []net.Conn
			for range idlers / 4 {
				conn, err := x.dialFrom("tcp", "127.0.7.1")
				if err != nil {
					continue // reset before it was set up: closed as well
				}
				open = append(open, conn)
			}
			for _, conn := range open {
				ends(t, "idle", conn)
				_ = conn.Close()
			}
		})
	}
	wg.Wait()
}

// slowOnes send a byte now and then: that is no reason to wait for them longer.
func (x *target) slowOnes(t *testing.T) {
	var wg sync.WaitGroup
	for range slowOnes {
		conn := x.from(t, "tcp", "127.0.7.2")
		wg.Go(func() {
			began := time.Now()
			go func() {
				for _, b := range framed(plain) {
					if _, err := conn.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(200 * time.Millisecond)
				}
			}()
			if came := ends(t, "slow", conn); came > 0 || time.Since(began) > tcpIdle+4*time.Second {
				t.Errorf("a slow client was served for %v and got %d bytes", time.Since(began), came)
			}
			_ = conn.Close()
		})
	}
	wg.Wait()
}

// deaf dials without room for replies.
func (x *target) deaf(t *testing.T) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 7, 3)}, Control: func(_, _ string, c syscall.RawConn) (err error) {
		_ = c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		return err
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", x.dns)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

var largest = framed(query("_http._tcp.default.svc.mesh.internal.", dns.TypePTR))

// neverReads ask for the largest answers and do not read: the server ends that.
func (x *target) neverReads(t *testing.T) {
	var wg sync.WaitGroup
	for range neverReads {
		conn := x.deaf(t)
		wg.Go(func() {
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			for {
				if _, err := conn.Write(largest); err != nil {
					if timeout := net.Error(nil); asTimeout(err, &timeout) {
						t.Error("the server keeps a client that does not read")
					}
					return
				}
			}
		})
	}
	wg.Wait()
}

// resets tear connections down in every state.
func (x *target) resets(t *testing.T) {
	message := framed(plain)
	for n := range resets {
		conn, err := x.dialFrom("tcp", "127.0.7.4")
		if err != nil {
			continue
		}
		_, _ = conn.Write(message[:n%(len(message)+1)])
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// halfClosed clients have said all, and still get their answers.
func (x *target) halfClosed(t *testing.T) {
	for range 50 {
		conn := x.from(t, "tcp", "127.0.7.5")
		_, err := conn.Write(append(framed(plain), framed(plain)...))
		if closed := conn.(*net.TCPConn).CloseWrite(); err != nil || closed != nil {
			t.Error(err, closed)
		}
		for range 2 {
			if reply, err := next(conn); err != nil || reply[3]&15 != 0 {
				t.Errorf("a client that closed its half gets %x, %v", reply, err)
			}
		}
		ends(t, "half closed", conn)
		_ = conn.Close()
	}
}

// pipelined queries are all answered, each once, in their order.
func (x *target) pipelined(t *testing.T) {
	conn := x.from(t, "tcp", "127.0.7.6")
	go func() {
		var all []byte
		for n := range pipelined {
			q := slices.Clone(plain)
			binary.BigEndian.PutUint16(q, uint16(n))
			all = append(all, framed(q)...)
		}
		_, _ = conn.Write(all)
	}()
	for n := range pipelined {
		if reply, err := next(conn); err != nil || binary.BigEndian.Uint16(reply) != uint16(n) || reply[3]&15 != 0 {
			t.Errorf("reply %d of %d: %x, %v", n, pipelined, reply, err)
			return
		}
	}
}

// lengths that are not true, and what is no DNS at all: closed in time.
func (x *target) lengths(t *testing.T) {
	var wg sync.WaitGroup
	for name, sent := range map[string]string{
		"nothing": "\x00\x00", "one byte": "\x00\x01", "65535": "\xff\xff", "65535 and some": "\xff\xff" + wireQuestion, "one byte that comes": "\x00\x01x",
		"TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP": "GET / HTTP/1.1\r\nHost: web\r\n\r\n",
	} {
		conn := x.from(t, "tcp", "127.0.7.7")
		wg.Go(func() {
			began := time.Now()
			_, err := conn.Write([]byte(sent))
			if came := ends(t, name, conn); err != nil || came > 0 || time.Since(began) > tcpIdle+4*time.Second {
				t.Errorf("%s: %d bytes came, %v, after %v", name, came, err, time.Since(began))
			}
		})
	}
	wg.Wait()
}

// noFiles: while the process may open no file, UDP goes on; afterwards connections do.
func (x *target) noFiles(t *testing.T) {
	var before unix.Rlimit
	pid := x.process.command.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 20000}, &before); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
				t.Error(err)
			}
		}
	}
	defer restore()
	stream := x.from(t, "tcp", "127.0.0.1")
	if _, err := stream.Write(framed(plain)); err != nil {
		t.Fatal(err)
	}
	conn := x.from(t, "udp", "127.0.0.1")
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if reply := x.exchange(t, conn, plain, time.Second); reply == nil || reply[3]&15 != 0 {
			t.Fatalf("without files UDP gives %x", reply)
		}
	}
	if err := stream.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if reply, err := next(stream); err == nil {
		t.Errorf("a connection was taken although there is no file for it: %x", reply)
	}
	restore()
	if err := stream.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if reply, err := next(stream); err != nil || reply[3]&15 != 0 {
		t.Errorf("the connection that waited gets %x, %v", reply, err)
	}
}

// overload: five times as many queries as are answered, and more: plain ones, odd ones and
// ones for names that do not exist. Each is answered, or shed before any work and counted;
// the memory stays; and as soon as it is over a client is answered.
func (x *target) overload(t *testing.T) {
	const times, mostSenders = 5, 24
	x.yields(t)
	shed := func() float64 { return x.metric(t, "seamark_dns_dropped_total", `protocol="udp",reason="overload"`) }
	kernel := func() float64 { return x.metric(t, "seamark_dns_dropped_total", `protocol="udp",reason="kernel"`) }
	shedBefore, kernelBefore := shed(), kernel()
	memory, _ := x.status(t)
	peak, offered, answered := 0, 0.0, 0.0
	for senders := 6; ; senders *= 2 {
		o, a, p := x.floods(t, senders)
		offered, answered, peak = offered+o, answered+a, max(peak, p)
		if o >= times*a {
			break
		}
		if t.Logf("%d senders offered only %.1f times as many as were answered", senders, o/a); senders >= mostSenders {
			t.Errorf("this is no overload: want %d times as many", times)
			break
		}
	}
	lost, dropped := kernel()-kernelBefore, shed()-shedBefore
	t.Logf("%.0f packets offered, %.0f answered (%.1f times as many offered), %.0f shed, %.0f dropped by the kernel, memory %d → at most %d MiB",
		offered, answered, offered/answered, dropped, lost, memory>>20, peak>>20)
	if dropped == 0 || lost == 0 {
		t.Errorf("%v packets were shed, and the kernel dropped %v", dropped, lost)
	}
	if known := answered + dropped + lost; known < 0.95*offered {
		t.Errorf("of %.0f packets %.0f are neither counted as answered nor as dropped", offered, offered-known)
	}
	if peak-memory > 64<<20 {
		t.Errorf("the flood took %d MiB", (peak-memory)>>20)
	}
}

// floods sends for some seconds with so many senders, and sees that a client is answered
// within a second afterwards. It returns how many packets were offered and answered, and
// the most memory that was taken, in bytes.
func (x *target) floods(t *testing.T, senders int) (offered, answered float64, peak int) {
	t.Helper()
	const lasts = 4 * time.Second
	count := func() float64 { return x.metric(t, "seamark_dns_answers_total", `protocol="udp"`) }
	before := count()
	var sent atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(lasts)
	packets := [][]byte{plain, plain, query("web.svc.mesh.internal.", dns.TypeANY), query("web.svc.mesh.internal.", 65280, func(m *dns.Msg) { m.SetEdns0(4096, true) }), nil, nil}
	for n := range senders {
		conn := x.from(t, "udp", fmt.Sprintf("127.0.4.%d", n+1))
		wg.Go(func() { flood(conn, packets[n%len(packets)], end, &sent) })
	}
	for time.Now().Before(end) {
		now, _ := x.status(t)
		peak = max(peak, now)
		time.Sleep(100 * time.Millisecond)
	}
	wg.Wait()
	over := time.Now()
	conn := x.from(t, "udp", "127.0.9.1")
	for { // a client asks again when nothing comes
		if reply := x.exchange(t, conn, plain, 50*time.Millisecond); reply != nil {
			break
		}
		if time.Since(over) > 10*time.Second {
			t.Fatal("no answer after the flood")
		}
	}
	if took := time.Since(over); took > time.Second {
		t.Errorf("answered again only %v after the flood", took)
	}
	return float64(sent.Load()), count() - before, peak
}

// yields makes the senders stronger than global-dns, which runs on the same processors.
func (x *target) yields(t *testing.T) {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", x.process.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, 5) // it may have ended
		}
	}
}

// flood sends until a time: packet, or when it is nil a question for another name that
// does not exist each time. Nobody reads the replies.
func flood(conn net.Conn, packet []byte, end time.Time, sent *atomic.Int64) {
	random := packet == nil
	if random {
		packet = query("00000000.svc.mesh.internal.", dns.TypeA)
	}
	for n := uint32(0); ; n++ {
		if random {
			copy(packet[13:21], fmt.Sprintf("%08x", n*2654435761))
		}
		if n%64 == 0 && time.Now().After(end) {
			return
		}
		if _, err := conn.Write(packet); err == nil {
			sent.Add(1)
		}
	}
}

// endsInTime: asked to end while clients misbehave in every way, the process does so
// within its grace, and says that all went well.
func (x *target) endsInTime(t *testing.T) {
	for range neverReads {
		x.from(t, "tcp", "127.0.7.1") // idle
		half := x.from(t, "tcp", "127.0.7.2")
		_, _ = half.Write(framed(plain)[:9])
		deaf := x.deaf(t)
		defer deaf.Close()
		if err := deaf.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for { // until the server waits for this client
			if _, err := deaf.Write(largest); err != nil {
				break
			}
		}
	}
	var sent atomic.Int64
	var wg sync.WaitGroup
	conn, end := x.from(t, "udp", "127.0.4.1"), time.Now().Add(2*time.Second)
	wg.Go(func() { flood(conn, query("web.svc.mesh.internal.", dns.TypeANY), end, &sent) })
	defer wg.Wait()
	began := time.Now()
	if err := x.process.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-x.process.done:
	case <-time.After(15 * time.Second):
		t.Fatal("it does not end")
	}
	took := time.Since(began)
	t.Logf("ended after %v: %v", took, x.process.command.ProcessState)
	if code := x.process.command.ProcessState.ExitCode(); code != 0 || took > 10*time.Second {
		t.Errorf("ended after %v with %v, want less than its grace of 10 s", took, x.process.command.ProcessState)
	}
}
