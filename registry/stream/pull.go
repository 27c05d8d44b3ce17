package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	pullMessages      = 4096     // asked for and not delivered yet, at most
	pullBytes         = 16 << 20 // of one request, at least twice the largest message; what is large waits at the server
	pullExpires       = 30 * time.Second
	heartbeatInterval = 2 * time.Second // of the server while nothing comes; two missing: the consumer is lost
	nextSubject       = "$JS.API.CONSUMER.MSG.NEXT."
	ackPrefix         = "$JS.ACK."
)

// pull is the client's side of one consumer. It tells messages from the server's
// own words by their subject, never by a header, because a writer may put any
// header on a message: the library's consumers pass over an empty message with a
// "Status" header, and would stall on it for ever.
type pull struct {
	tail   *tail
	name   string
	inbox  string
	sub    *nats.Subscription
	stop   <-chan struct{} // closed when the consumer is given up
	giveUp context.CancelFunc
	fault  chan error // capacity 1: why it must be

	mu        sync.Mutex // held while one message is handed on; guards the fields below
	closed    bool
	delivered uint64 // the consumer's count of the last message taken
	looked    uint64 // what delivered was when rested was asked last
	asked     int    // messages asked for and not delivered

	heard atomic.Int64 // when anything came, in Unix nanoseconds
	busy  atomic.Bool  // a message is being handed on
}

// open subscribes for a consumer's messages.
func (t *tail) open(ctx context.Context, name string) (*pull, error) {
	ctx, giveUp := context.WithCancel(ctx)
	p := &pull{tail: t, name: name, inbox: t.conn.nats.NewInbox(), stop: ctx.Done(), giveUp: giveUp, fault: make(chan error, 1)}
	p.heard.Store(time.Now().UnixNano())
	t.mu.Lock()
	t.ended = false
	t.mu.Unlock()
	var err error
	if p.sub, err = t.conn.nats.Subscribe(p.inbox, p.handle); err != nil {
		giveUp()
		return nil, fmt.Errorf("read %s: %w", t.stream, err)
	}
	// What waits here beyond that is dropped, and read again by another consumer.
	if err := p.sub.SetPendingLimits(-1, 4*p.mostBytes()); err != nil {
		p.close()
		return nil, fmt.Errorf("read %s: %w", t.stream, err)
	}
	return p, nil
}

// close gives the consumer up. When it returns, nothing of it is taken any more.
func (p *pull) close() {
	p.giveUp()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.sub.Unsubscribe() //nolint:errcheck // only a closed connection refuses
}

// begin asks for the first messages.
func (p *pull) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = pullMessages
	return p.ask(pullMessages)
}

// mostBytes is what one request may bring. A message that is larger would never come.
func (p *pull) mostBytes() int {
	return max(pullBytes, 2*int(p.tail.conn.nats.MaxPayload()))
}

func (p *pull) ask(count int) error {
	body, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{count, p.mostBytes(), pullExpires, heartbeatInterval})
	if err != nil {
		return err
	}
	return p.tail.conn.nats.PublishRequest(nextSubject+p.tail.stream+"."+p.name, p.inbox, body)
}

// handle takes what comes, on the subscription's own goroutine.
func (p *pull) handle(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.busy.Store(true)
	defer func() {
		p.heard.Store(time.Now().UnixNano())
		p.busy.Store(false)
	}()
	if m.Subject == p.inbox {
		p.status(m)
		return
	}
	i, delivered, pending, ok := parseDelivery(m)
	if !ok {
		p.fail(fmt.Errorf("read %s: a delivery can't be read: %q", p.tail.stream, clip(m.Reply)))
		return
	}
	if p.tail.stream == EventsStream {
		i.check = p.tail.conn.check.Load()
	}
	if !p.tail.take(p, i, delivered, pending) {
		return
	}
	p.asked--
	p.askMore()
}

func (p *pull) askMore() {
	if p.asked > pullMessages/2 {
		return
	}
	more := pullMessages - p.asked
	p.asked += more
	if err := p.ask(more); err != nil {
		p.fail(fmt.Errorf("read %s: %w", p.tail.stream, err))
	}
}

// status takes the server's own words.
func (p *pull) status(m *nats.Msg) {
	switch status, text := m.Header.Get("Status"), m.Header.Get("Description"); {
	case status == "100":
	case status == "408", status == "409" && (strings.EqualFold(text, "Batch Completed") || strings.EqualFold(text, "Message Size Exceeds MaxBytes")):
		left, _ := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		p.asked = max(p.asked-max(left, 0), 0)
		p.askMore()
	case status == "503":
		p.fail(errors.New("read " + p.tail.stream + ": the consumer is gone"))
	default:
		p.fail(fmt.Errorf("read %s: %s %s", p.tail.stream, clip(status), clip(text)))
	}
}

func (p *pull) fail(err error) {
	select {
	case p.fault <- err:
	default:
	}
}

// silent reports whether two heartbeats are missing.
func (p *pull) silent() bool {
	return !p.busy.Load() && time.Since(time.Unix(0, p.heard.Load())) > 2*heartbeatInterval+heartbeatInterval/2
}

// rested reports whether no message came since it was asked before.
func (p *pull) rested() bool {
	if p.busy.Load() { // mu may be held for long
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rested := p.delivered == p.looked
	p.looked = p.delivered
	return rested
}

// parseDelivery reads where a message stands from its reply subject, which the
// server made:
//
//	$JS.ACK.<stream>.<consumer>.<tries>.<sequence>.<delivered>.<time>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<tries>.<sequence>.<delivered>.<time>.<pending>[.<random>]
func parseDelivery(m *nats.Msg) (i item, delivered, pending uint64, ok bool) {
	rest, ok := strings.CutPrefix(m.Reply, ackPrefix)
	if !ok {
		return i, 0, 0, false
	}
	tokens := strings.Split(rest, ".")
	switch {
	case len(tokens) == 7:
		tokens = tokens[3:]
	case len(tokens) >= 9:
		tokens = tokens[5:]
	default:
		return i, 0, 0, false
	}
	var n [4]uint64
	for k := range n {
		var err error
		if n[k], err = strconv.ParseUint(tokens[k], 10, 63); err != nil {
			return i, 0, 0, false
		}
	}
	return item{
		subject: m.Subject, header: m.Header, data: m.Data, size: m.Size() + headerCost*len(m.Header), sequence: n[0],
		stored: time.Unix(0, int64(n[2])).UTC(), received: time.Now(),
	}, n[1], n[3], n[0] > 0
}
