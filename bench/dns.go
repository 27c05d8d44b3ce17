package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// question is a packet that is ready to be sent, but for its id.
type question struct {
	name   string
	packet []byte
}

func newQuestion(name string, kind dnsmessage.Type) (question, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return question{}, fmt.Errorf("%q: %w", name, err)
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}}}
	packet, err := m.Pack()
	return question{name, packet}, err
}

// answer is what matters of a reply.
type answer struct {
	id        uint16
	rcode     dnsmessage.RCode
	addresses int      // A records
	texts     []string // all strings of all TXT records
}

func parseAnswer(packet []byte) (answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil {
		return answer{}, err
	}
	a := answer{id: h.ID, rcode: h.RCode}
	if h.Truncated {
		return a, errors.New("the answer was truncated")
	}
	if err := p.SkipAllQuestions(); err != nil {
		return a, err
	}
	for {
		rr, err := p.Answer()
		switch {
		case errors.Is(err, dnsmessage.ErrSectionDone):
			return a, nil
		case err != nil:
			return a, err
		}
		switch body := rr.Body.(type) {
		case *dnsmessage.AResource:
			a.addresses++
		case *dnsmessage.TXTResource:
			a.texts = append(a.texts, body.TXT...)
		}
	}
}

// has reports whether a TXT answer has this string.
func (a answer) has(text string) bool { return slices.Contains(a.texts, text) }

// lists reports whether a TXT answer lists a version.
func (a answer) lists(version string) bool {
	for _, text := range a.texts {
		if list, ok := strings.CutPrefix(text, "versions="); ok {
			return slices.Contains(strings.Split(list, ","), version)
		}
	}
	return false
}

// asker asks one server, again and again, on one UDP socket. One goroutine owns it.
type asker struct {
	conn   net.Conn
	id     uint16
	buffer []byte
	gaps   samples // between two questions of one wait
}

func (s *site) newAsker() (*asker, error) {
	conn, err := net.Dial("udp", s.dns) //nolint:noctx // it does not wait
	if err != nil {
		return nil, err
	}
	s.atEnd(conn.Close)
	return &asker{conn: conn, buffer: make([]byte, 4096)}, nil
}

// askEvery is the pause between two questions while nothing tells that the answer
// is about to change. A tight loop would take the processor from those who are measured.
const askEvery = time.Millisecond

// mostWait is how long any one change may take.
const mostWait = 20 * time.Second

// until asks until an answer matches, and returns when it arrived.
func (a *asker) until(ctx context.Context, q question, match func(answer) bool) (time.Time, error) {
	_, answered, err := a.after(ctx, nil, q, match)
	return answered, err
}

// after is until, but begins to ask only after a signal, nil for at once, and then
// asks again as soon as it was answered. An answer can't change before its event is
// published, so the event is a signal that no change comes before; until then it
// costs the measured nothing. Signalled is what the signal carried.
func (a *asker) after(ctx context.Context, signal <-chan time.Time, q question, match func(answer) bool) (signalled, answered time.Time, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mostWait, fmt.Errorf("%s: the answer did not change within %v", q.name, mostWait))
	defer cancel()
	tight := signal != nil
	if tight {
		select {
		case signalled = <-signal:
		case <-ctx.Done():
			return signalled, answered, context.Cause(ctx)
		}
	}
	for {
		asked := time.Now()
		got, err := a.ask(q)
		arrived := time.Now()
		switch {
		case err == nil && match(got):
			return signalled, arrived, nil
		case err != nil && !errors.Is(err, errLost):
			return signalled, arrived, err
		case ctx.Err() != nil:
			return signalled, arrived, context.Cause(ctx)
		}
		if !tight && !pause(ctx, askEvery) {
			return signalled, arrived, context.Cause(ctx)
		}
		a.gaps = append(a.gaps, time.Since(asked))
	}
}

var errLost = errors.New("no answer came")

// ask asks once.
func (a *asker) ask(q question) (answer, error) {
	a.id++
	binary.BigEndian.PutUint16(q.packet, a.id)
	if _, err := a.conn.Write(q.packet); err != nil {
		return answer{}, err
	}
	if err := a.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return answer{}, err
	}
	for {
		n, err := a.conn.Read(a.buffer)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return answer{}, errLost
		}
		if err != nil {
			return answer{}, err
		}
		if got, err := parseAnswer(a.buffer[:n]); err != nil || got.id == a.id {
			return got, err
		}
	}
}
