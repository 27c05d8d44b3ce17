package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The two streams.
const (
	EventsStream = "MESH_EVENTS" // history of all facts
	LeaseStream  = "MESH_LEASE"  // latest sign of life of each writer
)

// maxLeaseMessage bounds one message of [LeaseStream] in bytes, headers included.
const maxLeaseMessage = 128 << 10

// dedupeWindow is how long a message sent again is recognised by its Msg-Id.
const dedupeWindow = 2 * time.Minute

// Settings are what an operator may choose about the streams. The zero value is
// one replica and a history without an end.
type Settings struct {
	Replicas     int           // 1, 3 or 5; 0 = 1
	HistoryAge   time.Duration // of [EventsStream]; 0 = for ever
	HistoryBytes int64         // guard far above what HistoryAge needs; 0 = none

	// First is the first sequence of [EventsStream] when it is created: beyond all that
	// stood on the one whose place it takes. 0 = 1.
	First uint64
}

// Difference is one setting of a stream that is not as it should be.
type Difference struct {
	Stream  string
	Field   string // as in the server's own configuration; "" when Missing
	Have    string
	Want    string
	Missing bool // the whole stream is
}

// String returns a sentence for a person.
func (d Difference) String() string {
	if d.Missing {
		return fmt.Sprintf("stream %s is missing", d.Stream)
	}
	return fmt.Sprintf("stream %s: %s is %s, should be %s", d.Stream, d.Field, d.Have, d.Want)
}

// configs returns both streams as they should be. Subjects are listed kind by
// kind, because the streams must not overlap.
func (s Settings) configs() []jetstream.StreamConfig {
	common := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		Replicas: max(s.Replicas, 1), MaxConsumers: -1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1,
		Duplicates: dedupeWindow, AllowDirect: true,
	}
	events, lease := common, common
	events.Name, events.Description = EventsStream, "Seamark: every fact of the mesh and its history"
	events.Subjects = eventSubjects()
	events.MaxAge = s.HistoryAge
	if s.HistoryBytes > 0 {
		events.MaxBytes = s.HistoryBytes
	}
	events.Compression = jetstream.S2Compression
	events.DenyDelete, events.DenyPurge, events.AllowAtomicPublish = true, true, true
	events.FirstSeq = s.First
	lease.Name, lease.Description = LeaseStream, "Seamark: latest sign of life of each writer"
	lease.Subjects = leaseSubjects()
	lease.MaxMsgsPerSubject, lease.MaxMsgSize = 1, maxLeaseMessage
	return []jetstream.StreamConfig{events, lease}
}

// CheckStreams compares both streams with what they should be, field by field. It
// changes nothing.
func (c *Conn) CheckStreams(ctx context.Context, s Settings) ([]Difference, error) {
	var all []Difference
	for _, want := range s.configs() {
		differences, err := c.checkStream(ctx, want)
		if err != nil {
			return nil, err
		}
		all = append(all, differences...)
	}
	return all, nil
}

// CreateStreams creates the streams that are missing, and tells their names and
// how those that exist differ from what they should be. It never changes one that exists.
func (c *Conn) CreateStreams(ctx context.Context, s Settings) (created []string, differences []Difference, err error) {
	for _, want := range s.configs() {
		found, err := c.checkStream(ctx, want)
		if err != nil {
			return created, differences, err
		}
		if len(found) == 1 && found[0].Missing {
			made, err := c.createStream(ctx, want)
			if err != nil {
				return created, differences, err
			}
			if made {
				created = append(created, want.Name)
			}
			if found, err = c.checkStream(ctx, want); err != nil { // somebody else's may differ
				return created, differences, err
			}
		}
		differences = append(differences, found...)
	}
	return created, differences, nil
}

// ApplyStreams makes both streams what they should be, and tells what was not. It
// is for an operator's hand: a shorter history deletes messages. Some fields can't
// be changed on a stream that exists; the server's refusal is returned.
func (c *Conn) ApplyStreams(ctx context.Context, s Settings) ([]Difference, error) {
	var all []Difference
	for _, want := range s.configs() {
		differences, err := c.checkStream(ctx, want)
		if err != nil {
			return all, err
		}
		if len(differences) == 0 {
			continue
		}
		all = append(all, differences...)
		bounded, stop := c.bound(ctx)
		_, err = c.js.CreateOrUpdateStream(bounded, want)
		stop()
		if err != nil {
			return all, fmt.Errorf("stream %s: %w", want.Name, err)
		}
	}
	c.mu.Lock()
	clear(c.replicas)
	c.mu.Unlock()
	return all, nil
}

func (c *Conn) createStream(ctx context.Context, want jetstream.StreamConfig) (made bool, err error) {
	ctx, stop := c.bound(ctx)
	defer stop()
	_, err = c.js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create stream %s: %w", want.Name, err)
	}
	return true, nil
}

func (c *Conn) checkStream(ctx context.Context, want jetstream.StreamConfig) ([]Difference, error) {
	info, err := c.streamInfo(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return []Difference{{Stream: want.Name, Missing: true}}, nil
	}
	if err != nil {
		return nil, err
	}
	return compareConfigs(info.Config, want), nil
}

// compareConfigs compares everything that shapes how a stream behaves.
func compareConfigs(have, want jetstream.StreamConfig) []Difference {
	fields := []struct {
		name       string
		have, want any
	}{
		{"subjects", sorted(have.Subjects), sorted(want.Subjects)},
		{"retention", have.Retention, want.Retention},
		{"discard", have.Discard, want.Discard},
		{"storage", have.Storage, want.Storage},
		{"compression", have.Compression, want.Compression},
		{"num_replicas", have.Replicas, want.Replicas},
		{"max_age", have.MaxAge, want.MaxAge},
		{"max_bytes", have.MaxBytes, want.MaxBytes},
		{"max_msgs", have.MaxMsgs, want.MaxMsgs},
		{"max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject},
		{"max_msg_size", have.MaxMsgSize, want.MaxMsgSize},
		{"max_consumers", have.MaxConsumers, want.MaxConsumers},
		{"duplicate_window", have.Duplicates, want.Duplicates},
		{"no_ack", have.NoAck, want.NoAck},
		{"deny_delete", have.DenyDelete, want.DenyDelete},
		{"deny_purge", have.DenyPurge, want.DenyPurge},
		{"allow_rollup_hdrs", have.AllowRollup, want.AllowRollup},
		{"allow_direct", have.AllowDirect, want.AllowDirect},
		{"allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish},
		{"allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL},
		{"subject_delete_marker_ttl", have.SubjectDeleteMarkerTTL, want.SubjectDeleteMarkerTTL},
		{"sealed", have.Sealed, want.Sealed},
		{"allow_msg_counter", have.AllowMsgCounter, want.AllowMsgCounter},
		{"allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules},
		{"persist_mode", have.PersistMode, want.PersistMode},
		{"mirror", have.Mirror != nil, want.Mirror != nil},
		{"sources", len(have.Sources), len(want.Sources)},
		{"subject_transform", have.SubjectTransform != nil, want.SubjectTransform != nil},
	}
	var differences []Difference
	for _, f := range fields {
		if h, w := fmt.Sprint(f.have), fmt.Sprint(f.want); h != w {
			differences = append(differences, Difference{Stream: want.Name, Field: f.name, Have: h, Want: w})
		}
	}
	return differences
}

func sorted(subjects []string) string {
	s := slices.Clone(subjects)
	slices.Sort(s)
	return strings.Join(s, " ")
}

// Created returns when [EventsStream] was made. Another moment means another stream.
func (c *Conn) Created(ctx context.Context) (time.Time, error) {
	info, err := c.streamInfo(ctx, EventsStream)
	if err != nil {
		return time.Time{}, err
	}
	return info.Created, nil
}

// askAgain is after how long a question is asked again that has no answer: one that was on
// its way to a leader which died is answered by nobody, and there may be another by now.
const askAgain = time.Second

// streamInfo asks the stream's leader, at most for requestTimeout. The first answer counts,
// whichever question it is to.
func (c *Conn) streamInfo(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	bounded, stop := c.bound(ctx)
	defer stop()
	type answer struct {
		stream jetstream.Stream
		err    error
	}
	answers := make(chan answer, requestTimeout/askAgain+1)
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for asked := 0; ; {
		if asked++; asked <= cap(answers) {
			wg.Go(func() {
				s, err := c.js.Stream(bounded, name)
				answers <- answer{s, err}
			})
		}
		select {
		case a := <-answers:
			if a.err == nil {
				return a.stream.CachedInfo(), nil
			}
			if cause := context.Cause(bounded); cause != nil {
				a.err = cause
			}
			return nil, fmt.Errorf("stream %s: %w", name, a.err)
		case <-again.C:
		}
	}
}
