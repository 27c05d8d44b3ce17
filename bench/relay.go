package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// relay passes TCP connections on to a target and holds back what the target sends.
// With it a measurement is measured: what it finds must contain what was held back.
type relay struct {
	target   string
	by       time.Duration
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	closed bool
	conns  []net.Conn
}

// holdBack starts a relay to a target and returns its address.
func (s *site) holdBack(target string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return "", err
	}
	r := &relay{target: target, by: s.options.hold, listener: listener}
	r.wg.Go(r.accept)
	s.atEnd(r.close)
	return listener.Addr().String(), nil
}

func (r *relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.target) //nolint:noctx // on the same machine
		if err != nil {
			_ = in.Close()
			continue
		}
		if !r.keep(in, out) {
			return
		}
		r.wg.Go(func() {
			defer out.Close()
			_, _ = io.Copy(out, in) // ends when either side does
		})
		r.wg.Go(func() {
			defer in.Close()
			r.later(in, out)
		})
	}
}

// keep remembers connections to close; false when the relay is closed already.
func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, conns...)
	if r.closed {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	return !r.closed
}

// later copies, each piece when its time has come, in order.
func (r *relay) later(to io.Writer, from io.Reader) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1<<12)
	done := make(chan struct{})
	r.wg.Go(func() {
		defer close(done)
		for p := range pieces {
			timer := time.NewTimer(time.Until(p.due))
			<-timer.C // at most as long as is held back
			if _, err := to.Write(p.data); err != nil {
				break
			}
		}
		for range pieces { // nobody wants the rest
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			pieces <- piece{append([]byte(nil), buffer[:n]...), time.Now().Add(r.by)}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	<-done
}

func (r *relay) close() error {
	err := r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
