package stream

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// Bounds of what waits to be decoded.
const (
	queueItems = 4096
	queueBytes = 16 << 20
	headerCost = 128 // bytes that a header takes in memory, however short it is
)

// item is one message as it came, or none: only the news that the end is reached.
type item struct {
	subject  string
	header   nats.Header
	data     []byte
	size     int    // bytes of memory, about
	sequence uint64 // 0: no message
	stored   time.Time
	received time.Time
	check    *Check // nil: none
	atEnd    bool   // with this item the end of the stream is reached
}

// inflated returns how many bytes the body may have once it is decoded.
func (i *item) inflated() int {
	if len(i.header[headerContentEncoding]) > 0 {
		return registry.MaxBody
	}
	return len(i.data)
}

// queue is where messages wait between the connection and the decoder. Whoever
// takes gets all there is at once.
type queue struct {
	mu    sync.Mutex // guards the fields below
	items []item
	bytes int

	more chan struct{} // capacity 1: something came
	room chan struct{} // capacity 1: something went
}

func newQueue() *queue {
	return &queue{more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put waits for room; false when stop came first. One goroutine puts at a time.
func (q *queue) put(stop <-chan struct{}, i item) bool {
	for {
		if q.offer(i) {
			signal(q.more)
			return true
		}
		select {
		case <-q.room:
		case <-stop:
			return false
		}
	}
}

// offer adds an item unless the queue is full. A single large one always fits.
func (q *queue) offer(i item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= queueItems || len(q.items) > 0 && q.bytes+i.size > queueBytes {
		return false
	}
	q.items = append(q.items, i)
	q.bytes += i.size
	return true
}

// take waits until something is there and returns all of it.
func (q *queue) take(ctx context.Context) ([]item, error) {
	for {
		q.mu.Lock()
		taken := q.items
		q.items, q.bytes = nil, 0
		q.mu.Unlock()
		if len(taken) > 0 {
			signal(q.room)
			return taken, nil
		}
		select {
		case <-q.more:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
