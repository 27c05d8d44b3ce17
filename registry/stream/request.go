package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Error codes of the server that decide something here.
const (
	codeWrongLast    jetstream.ErrorCode = 10071 // the expected message is not the last one: fenced, or a lost compare-and-set
	codeInFlight     jetstream.ErrorCode = 10164 // replicated streams: another message for that subject is on its way; proves nothing
	codeNoBatches    jetstream.ErrorCode = 10174 // the stream does not allow atomic batches
	codeBatchHasID   jetstream.ErrorCode = 10201 // the batch holds a message that is stored
	largestBatch                         = 1000  // messages the server takes in one atomic batch
	headerBatchID                        = "Nats-Batch-Id"
	headerBatchSeq                       = "Nats-Batch-Sequence"
	headerBatchOK                        = "Nats-Batch-Commit"
	directGetSubject                     = "$JS.API.DIRECT.GET."
)

// readBackTries and readBackPause bound how long a replica is given to show a
// message that the leader is known to have.
const (
	readBackTries = 40
	readBackPause = 25 * time.Millisecond
)

// acknowledgement is the server's answer to a publish.
type acknowledgement struct {
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
}

// publish stores one message and waits for the acknowledgement. An error of the
// server is a [*jetstream.APIError]; any other leaves open whether it was stored.
func (c *Conn) publish(ctx context.Context, stream string, m *nats.Msg) (acknowledgement, error) {
	var a acknowledgement
	answer, err := c.request(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		return a, fmt.Errorf("publish on %s: no stream takes it, or its server has no leader: %w", m.Subject, err)
	}
	if err != nil {
		return a, fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	if err := json.Unmarshal(answer.Data, &a); err != nil {
		return a, fmt.Errorf("publish on %s: the acknowledgement can't be read: %w", m.Subject, err)
	}
	switch {
	case a.Error != nil:
		return a, fmt.Errorf("publish on %s: %w", m.Subject, a.Error)
	case a.Stream != stream || a.Sequence == 0:
		return a, fmt.Errorf("publish on %s: acknowledged by stream %q, not %s", m.Subject, clip(a.Stream), stream)
	}
	return a, nil
}

// publishBatch stores messages all together or not at all. It is the header
// protocol of the server's atomic batches: only the last message is answered, with its
// own sequence.
func (c *Conn) publishBatch(ctx context.Context, stream string, messages []*nats.Msg) (acknowledgement, error) {
	id := rand.Text()
	for n, m := range messages {
		m.Header.Set(headerBatchID, id)
		m.Header.Set(headerBatchSeq, strconv.Itoa(n+1))
	}
	last := messages[len(messages)-1]
	last.Header.Set(headerBatchOK, "1")
	defer func() { // the same messages may go out singly
		for _, m := range messages {
			m.Header.Del(headerBatchID)
			m.Header.Del(headerBatchSeq)
			m.Header.Del(headerBatchOK)
		}
	}()
	for _, m := range messages[:len(messages)-1] {
		if err := c.nats.PublishMsg(m); err != nil {
			return acknowledgement{}, fmt.Errorf("publish a batch: %w", err)
		}
	}
	return c.publish(ctx, stream, last)
}

// code returns the server's error code; 0 for other errors.
func code(err error) jetstream.ErrorCode {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode
	}
	return 0
}

// lastNamed returns the sequence that a codeWrongLast error names as the last one;
// 0 when it names none.
func lastNamed(err error) uint64 {
	var e *jetstream.APIError
	if !errors.As(err, &e) {
		return 0
	}
	_, digits, _ := strings.Cut(e.Description, "wrong last sequence: ")
	n, _ := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
	return n
}

// expectLast makes a message conditional on the last sequence of a subject; of its
// own when on is "".
func expectLast(m *nats.Msg, sequence uint64, on string) {
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(sequence, 10))
	if on != "" {
		m.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, on)
	}
}

// storedMessage is a message as a stream holds it.
type storedMessage struct {
	subject  string
	header   nats.Header
	data     []byte
	sequence uint64
	stored   time.Time
}

// lastOn returns the last message of a subject. Any replica may answer, so that
// one that lags may show the one before.
func (c *Conn) lastOn(ctx context.Context, stream, subject string) (m storedMessage, found bool, err error) {
	return c.directGet(ctx, &nats.Msg{Subject: directGetSubject + stream + "." + subject})
}

// at returns the message with a sequence, when the replica that answers has it.
func (c *Conn) at(ctx context.Context, stream string, sequence uint64) (m storedMessage, found bool, err error) {
	return c.directGet(ctx, &nats.Msg{Subject: directGetSubject + stream, Data: fmt.Appendf(nil, `{"seq":%d}`, sequence)})
}

// directQuery is a direct get that is answered with several messages.
type directQuery struct {
	Subjects []string `json:"multi_last,omitempty"` // the last of each of these …
	UpTo     uint64   `json:"up_to_seq,omitempty"`  // … that stands no later than this
	Next     string   `json:"next_by_subj,omitempty"`
	From     uint64   `json:"seq,omitempty"` // for Next
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes,omitempty"`
}

// directGetMany calls f for each message that answers, in order, and returns how
// many there were.
func (c *Conn) directGetMany(ctx context.Context, q directQuery, f func(storedMessage)) (count int, err error) {
	ctx, stop := c.bound(ctx)
	defer stop()
	body, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	inbox := c.nats.NewInbox()
	sub, err := c.nats.SubscribeSync(inbox)
	if err != nil {
		return 0, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // only a closed connection refuses
	if err := c.nats.PublishRequest(directGetSubject+EventsStream, inbox, body); err != nil {
		return 0, err
	}
	for {
		answer, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return count, fmt.Errorf("%s%s: %w", directGetSubject, EventsStream, err)
		}
		m, given, err := parseDirect(answer)
		if err != nil {
			return count, fmt.Errorf("%s%s: %w", directGetSubject, EventsStream, err)
		}
		if !given {
			return count, nil
		}
		f(m)
		count++
	}
}

// errLags says that what a replica lacks can't be told from what was never stored.
var errLags = errors.New("a replica of the stream lags")

// lastBefore returns the last message of a subject that stands before a sequence.
// The server gives nothing when the replica that answers is not so far yet, just as
// when there is none. So it is asked for witnesses too: subjects that should have a
// message there. Where none of all is given, the replicas are looked at.
func (c *Conn) lastBefore(ctx context.Context, subject string, sequence uint64, witnesses ...string) (m storedMessage, found bool, err error) {
	q := directQuery{Subjects: append(witnesses, subject), UpTo: sequence - 1}
	keep := func(one storedMessage) {
		if one.subject == subject && one.sequence < sequence {
			m, found = one, true
		}
	}
	if count, err := c.directGetMany(ctx, q, keep); err != nil || count > 0 {
		return m, found, err
	}
	info, err := c.streamInfo(ctx, EventsStream)
	if err != nil {
		return m, false, err
	}
	if info.Cluster != nil {
		for _, replica := range info.Cluster.Replicas {
			if !replica.Offline && (!replica.Current || replica.Lag > 0) {
				return m, false, errLags
			}
		}
	}
	if q.UpTo = min(q.UpTo, info.State.LastSeq); q.UpTo == 0 {
		return m, false, nil
	}
	_, err = c.directGetMany(ctx, q, keep)
	return m, found, err
}

func (c *Conn) directGet(ctx context.Context, request *nats.Msg) (m storedMessage, found bool, err error) {
	answer, err := c.request(ctx, request)
	if err == nil {
		m, found, err = parseDirect(answer)
	}
	if err != nil {
		return m, false, fmt.Errorf("%s: %w", request.Subject, err)
	}
	return m, found, nil
}

// parseDirect reads one message of the answer to a direct get; given is false when
// there is no more, or none.
func parseDirect(answer *nats.Msg) (m storedMessage, given bool, err error) {
	sequence, err := strconv.ParseUint(lastValue(answer.Header, jetstream.SequenceHeader), 10, 64)
	if err != nil { // a status, no message
		if status := answer.Header.Get("Status"); status != "404" && status != "204" {
			return m, false, fmt.Errorf("status %s %s", clip(status), clip(answer.Header.Get("Description")))
		}
		return m, false, nil
	}
	stored, err := time.Parse(time.RFC3339Nano, lastValue(answer.Header, jetstream.TimeStampHeaer))
	if err != nil {
		return m, false, fmt.Errorf("the time of the message can't be read: %w", err)
	}
	return storedMessage{
		subject: lastValue(answer.Header, jetstream.SubjectHeader), header: answer.Header, data: answer.Data,
		sequence: sequence, stored: stored,
	}, true, nil
}

// lastOnAtLeast is lastOn, but waits a little for a replica that has not yet the
// message that the leader spoke of.
func (c *Conn) lastOnAtLeast(ctx context.Context, stream, subject string, sequence uint64) (m storedMessage, found bool, err error) {
	for range readBackTries {
		m, found, err = c.lastOn(ctx, stream, subject)
		if err != nil || m.sequence >= sequence {
			return m, found, err
		}
		if err := wait(ctx, readBackPause); err != nil {
			return m, false, err
		}
	}
	return m, false, fmt.Errorf("%s: no replica shows the message with sequence %d", subject, sequence)
}

// wait pauses, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
