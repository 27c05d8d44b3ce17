package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// nats asks the server and reads the stream. It returns when asked has, too, and the
// stream's end was looked at after that.
func (g *gathering) nats(ctx context.Context, asked func()) {
	f := g.facts
	var once, viewOnce sync.Once
	known, viewed := func() { once.Do(func() { close(g.streamsKnown) }) }, func() { viewOnce.Do(func() { close(g.viewKnown) }) }
	defer viewed()
	defer known()
	if u, err := url.Parse(g.options.NATS); err != nil || u.Host == "" {
		f.NATS.Err = fmt.Errorf("%q is no URL: write for example nats://127.0.0.1:4222", g.options.NATS)
		return
	}
	connecting, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	conn, err := stream.Connect(connecting, stream.ConnectConfig{
		Servers: []string{g.options.NATS}, Name: "seamark doctor", Credentials: g.options.Credentials, Logger: g.options.Logger,
	})
	if err != nil {
		f.NATS.Err = g.plainly(ctx, err)
		return
	}
	defer conn.Close()
	js, err := jetstream.New(conn.NATS())
	if err != nil {
		f.NATS.Err = fmt.Errorf("JetStream: %w", err)
		return
	}
	f.NATS.URL, f.NATS.Version = conn.NATS().ConnectedUrlRedacted(), conn.NATS().ConnectedServerVersion()
	if f.NATS.RoundTrip, err = conn.NATS().RTT(); err != nil {
		f.NATS.Err = fmt.Errorf("NATS does not answer: %w", err)
		return
	}
	g.streams(ctx, conn, js)
	known()
	var wg sync.WaitGroup
	wg.Go(func() { f.Account = accountOf(ctx, js) })
	wg.Go(func() { f.Rights = rightsOf(ctx, conn.NATS()) })
	wg.Go(func() { f.Signs = g.signs(ctx, conn) })
	reading, end := context.WithCancel(ctx)
	defer end()
	var follows sync.WaitGroup
	follows.Go(func() { g.stream.run(reading, conn) })
	f.View.Err = g.stream.ready(ctx, f.Streams.readable())
	viewed()
	if f.View.Err == nil {
		f.View.Epochs = epochsOf(ctx, conn, g.stream.view())
	}
	wg.Wait()
	asked()
	for _, at := range []*Stream{&f.Streams.Lease, &f.Streams.Events} { // a replica that was just catching up has done so
		if info, err := streamInfo(ctx, js, at.Name); at.Name != "" && err == nil {
			later := describe(info)
			at.Leader, at.Peers = later.Leader, later.Peers
			if at == &f.Streams.Events {
				f.Streams.After, f.Streams.Now = later.Last, info.TimeStamp
			}
		}
	}
	end()
	follows.Wait()
	f.View.View, f.View.Notes = g.stream.view(), g.stream.latestNotes()
}

// plainly finds out why there is no connection: the client only says that time was up.
func (g *gathering) plainly(ctx context.Context, err error) error {
	for _, known := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAccountAuthExpired} {
		if errors.Is(err, known) {
			return fmt.Errorf("NATS refuses these credentials: %w", known)
		}
	}
	if where, bad := hostPort(g.options.NATS); bad == nil {
		ctx, stop := context.WithTimeout(ctx, probeTimeout/2)
		defer stop()
		conn, dialErr := (&net.Dialer{}).DialContext(ctx, "tcp", where)
		if dialErr != nil {
			return fmt.Errorf("NATS is not reached: %w", dialErr)
		}
		_ = conn.Close() // nothing was sent
	}
	return fmt.Errorf("NATS is not reached: %w", err)
}

// streams asks for both streams, and measures the server's clock with the answers.
func (g *gathering) streams(ctx context.Context, conn *stream.Conn, js jetstream.JetStream) {
	s := &g.facts.Streams
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		into := &s.Events
		if name == stream.LeaseStream {
			into = &s.Lease
		}
		before := time.Now()
		info, err := streamInfo(ctx, js, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			s.Missing = append(s.Missing, name)
			continue
		case err != nil:
			s.Err = fmt.Errorf("stream %s: %w", name, err)
			last := conn.NATS().LastError()
			s.Denied = errors.Is(last, nats.ErrPermissionViolation)
			if s.Denied {
				s.Err = fmt.Errorf("stream %s: %w", name, last)
			}
			g.facts.NATS.ClockErr = s.Err
			return
		}
		*into = describe(info)
		s.Now = info.TimeStamp
		g.facts.NATS.Clock = narrower(g.facts.NATS.Clock, clockBetween(before, info.TimeStamp, time.Now()))
	}
	if s.Events.Name == "" {
		g.facts.NATS.ClockErr = fmt.Errorf("stream %s is missing", stream.EventsStream)
		s.Err = nil
		return
	}
	for range 3 { // the quickest answer tells most of the clock
		before := time.Now()
		if now, err := conn.Now(ctx); err == nil {
			g.facts.NATS.Clock = narrower(g.facts.NATS.Clock, clockBetween(before, now, time.Now()))
		}
	}
	s.Events.Recent, s.Events.Span, s.Events.RecentErr = recent(ctx, js, s.Events, s.Now)
	differences, err := conn.CheckStreams(ctx, stream.Settings{Replicas: s.Events.Replicas, HistoryAge: s.Events.MaxAge, HistoryBytes: max(s.Events.MaxBytes, 0)})
	if err != nil {
		s.Err = err
		return
	}
	for _, d := range differences {
		if !d.Missing {
			s.Differences = append(s.Differences, d)
		}
	}
}

// readable tells why the stream can't be read; nil when it can.
func (s Streams) readable() error {
	if s.Err == nil && s.Events.Name == "" {
		return fmt.Errorf("stream %s is missing", stream.EventsStream)
	}
	return s.Err
}

func streamInfo(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	ctx, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

func describe(info *jetstream.StreamInfo) Stream {
	s := Stream{
		Name: info.Config.Name, Created: info.Created, Replicas: info.Config.Replicas, MaxAge: info.Config.MaxAge, MaxBytes: info.Config.MaxBytes,
		Messages: info.State.Msgs, Bytes: info.State.Bytes, First: info.State.FirstSeq, Last: info.State.LastSeq,
		FirstTime: info.State.FirstTime, LastTime: info.State.LastTime,
	}
	if info.Cluster != nil {
		s.Leader = info.Cluster.Leader
		for _, p := range info.Cluster.Replicas {
			s.Peers = append(s.Peers, Peer{Name: p.Name, Offline: p.Offline, Current: p.Current, Lag: p.Lag, Active: p.Active})
		}
	}
	return s
}

// recent counts what was stored within the last hour, or since the stream's beginning: a
// consumer from there on says how much it has before it.
func recent(ctx context.Context, js jetstream.JetStream, s Stream, now time.Time) (count uint64, span time.Duration, err error) {
	from := now.Add(-time.Hour)
	if from.Before(s.Created) {
		from = s.Created
	}
	ctx, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	consumer, err := js.CreateConsumer(ctx, s.Name, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Second,
	})
	if err != nil {
		return 0, 0, err
	}
	return consumer.CachedInfo().NumPending, now.Sub(from), nil
}

// clockBetween bounds how far a clock is ahead that was read between two moments.
func clockBetween(before, theirs, after time.Time) Interval {
	return Interval{Low: theirs.Sub(after), High: theirs.Sub(before)}
}

// narrower returns the interval that says more; the zero Interval says nothing.
func narrower(a, b Interval) Interval {
	if a != (Interval{}) && a.High-a.Low <= b.High-b.Low {
		return a
	}
	return b
}

func accountOf(ctx context.Context, js jetstream.JetStream) Account {
	ctx, stop := context.WithTimeout(ctx, probeTimeout/2)
	defer stop()
	info, err := js.AccountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return Account{NoJetStream: true}
	case err != nil:
		return Account{Err: fmt.Errorf("$JS.API.INFO: %w", err)}
	}
	most := info.Limits.MaxStore
	if len(info.Tiers) > 0 { // limits are by the number of replicas; the tightest that is used counts
		most = -1
		for _, tier := range info.Tiers {
			if tier.Limits.MaxStore > 0 && tier.Store > 0 && (most < 0 || tier.Limits.MaxStore < most) {
				most = tier.Limits.MaxStore
			}
		}
	}
	return Account{
		Bytes: int64(info.Store), MostBytes: most, Streams: info.Streams, MostStreams: info.Limits.MaxStreams,
		Consumers: info.Consumers, MostConsumer: info.Limits.MaxConsumers,
	}
}

// rightsOf asks the server what this connection may do.
func rightsOf(ctx context.Context, conn *nats.Conn) Rights {
	ctx, stop := context.WithTimeout(ctx, probeTimeout/2)
	defer stop()
	answer, err := conn.RequestWithContext(ctx, "$SYS.REQ.USER.INFO", nil)
	if err != nil {
		return Rights{Err: fmt.Errorf("$SYS.REQ.USER.INFO: %w", err)}
	}
	var reply struct {
		Data struct {
			User        string `json:"user"`
			Permissions *struct {
				Publish *struct {
					Allow []string `json:"allow"`
					Deny  []string `json:"deny"`
				} `json:"publish"`
			} `json:"permissions"`
			Expires time.Duration `json:"expires"`
		} `json:"data"`
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &reply); err != nil {
		return Rights{Err: fmt.Errorf("$SYS.REQ.USER.INFO: %w", err)}
	}
	if reply.Error != nil {
		return Rights{Err: errors.New(strings.TrimSpace(reply.Error.Description))}
	}
	r := Rights{User: reply.Data.User, Expires: reply.Data.Expires}
	if p := reply.Data.Permissions; p != nil && p.Publish != nil {
		r.PublishAllow, r.PublishDeny = p.Publish.Allow, p.Publish.Deny
		r.Limited = len(r.PublishAllow)+len(r.PublishDeny) > 0
	}
	return r
}
