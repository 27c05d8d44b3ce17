package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"
)

// answerWatch asks, once in a millisecond, for everything whose answer should
// change, and notes when it has. Questions and answers go through one UDP socket
// and do not wait for each other.
type answerWatch struct {
	conn net.Conn

	mu      sync.Mutex // guards the fields below
	open    map[*expected]bool
	asked   map[uint16]*expected // by id
	next    uint16
	gone    int
	between samples
}

// expected is an answer that should change.
type expected struct {
	question question
	match    func(answer) bool
	seen     func(at time.Time)
	since    time.Time
	last     time.Time // asked
	ids      []uint16
}

// watchEvery is the pause between two rounds of questions.
const watchEvery = time.Millisecond

func (s *site) newAnswerWatch() (*answerWatch, error) {
	conn, err := net.Dial("udp", s.dns) //nolint:noctx // it does not wait
	if err != nil {
		return nil, err
	}
	s.atEnd(func() error {
		if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return &answerWatch{conn: conn, open: map[*expected]bool{}, asked: map[uint16]*expected{}}, nil
}

// add begins to ask. Seen is called, once, from the goroutine that receives.
func (w *answerWatch) add(q question, match func(answer) bool, seen func(at time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[&expected{question: question{q.name, append([]byte(nil), q.packet...)}, match: match, seen: seen, since: time.Now()}] = true
}

// send asks until ctx ends.
func (w *answerWatch) send(ctx context.Context) error {
	for pause(ctx, watchEvery) {
		if err := w.round(time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// round asks for all that is open, and gives up what took too long.
func (w *answerWatch) round(now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for e := range w.open {
		if now.Sub(e.since) > mostWait {
			w.gone++
			w.forget(e)
			continue
		}
		if !e.last.IsZero() {
			w.between = append(w.between, now.Sub(e.last))
		}
		w.next++
		if was := w.asked[w.next]; was != nil {
			delete(w.asked, w.next) // 65,536 questions ago: its answer was lost
		}
		e.last, e.ids = now, append(e.ids, w.next)
		w.asked[w.next] = e
		binary.BigEndian.PutUint16(e.question.packet, w.next)
		if _, err := w.conn.Write(e.question.packet); err != nil {
			return err
		}
	}
	return nil
}

// forget stops asking. The caller holds mu.
func (w *answerWatch) forget(e *expected) {
	delete(w.open, e)
	for _, id := range e.ids {
		if w.asked[id] == e {
			delete(w.asked, id)
		}
	}
}

// receive takes answers until ctx ends.
func (w *answerWatch) receive(ctx context.Context) error {
	buffer := make([]byte, 4096)
	for ctx.Err() == nil {
		if err := w.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		n, err := w.conn.Read(buffer)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil {
			return err
		}
		now := time.Now()
		got, err := parseAnswer(buffer[:n])
		if err != nil {
			return err
		}
		w.take(got, now)
	}
	return nil
}

func (w *answerWatch) take(got answer, now time.Time) {
	w.mu.Lock()
	e := w.asked[got.id]
	hit := e != nil && e.match(got)
	if hit {
		w.forget(e)
	}
	w.mu.Unlock()
	if hit {
		e.seen(now)
	}
}

// idle waits until nothing is open, or ctx ends.
func (w *answerWatch) idle(ctx context.Context) {
	for pause(ctx, 5*time.Millisecond) {
		w.mu.Lock()
		left := len(w.open)
		w.mu.Unlock()
		if left == 0 {
			return
		}
	}
}

// lost counts what was given up.
func (w *answerWatch) lost() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

// gaps are the times between two questions for the same answer.
func (w *answerWatch) gaps() samples {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.between
}
