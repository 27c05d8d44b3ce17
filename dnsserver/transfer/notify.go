package transfer

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/tsig"
	"github.com/seamark-mesh/seamark/registry"
)

// The pace of a secondary's messages.
const (
	notifyPause    = time.Second // between two of them
	maxNotifyPause = time.Minute // while it does not answer
	answerPatience = 3 * time.Second
	answerPause    = 2 * time.Millisecond // until answers show what is to be told
)

// Notifier tells secondaries that the zone changed (RFC 1996). Fill all fields before
// Run, which is called once.
type Notifier struct {
	Views    interface{ Watch() *registry.Watcher }
	Settings func() *Settings // the current ones
	Reloaded <-chan struct{}  // Settings may give others now

	// Answering returns the sequence that answers show. A secondary that is told of a
	// change asks for the SOA at once, and would take an older one for no change.
	Answering func() uint64

	// Source returns the address to tell a secondary from, because most believe only
	// their primaries'; the zero Addr lets the system choose.
	Source   func(secondary netip.Addr) netip.Addr
	Observer Observer
	Log      *slog.Logger
}

// Run tells every secondary of the settings of the zone it finds, and of each change
// after that, until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	for ctx.Err() == nil {
		n.runWith(ctx, n.Settings())
	}
}

// runWith works with one version of the settings, until they change.
func (n *Notifier) runWith(ctx context.Context, settings *Settings) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	tellers := make([]*teller, 0, len(settings.Notify))
	for _, target := range settings.Notify {
		key, _ := settings.Keys.Find(target.Key)
		t := &teller{target: target.Address, source: n.Source(target.Address.Addr()), key: key, observer: n.Observer, log: n.Log, changed: make(chan struct{}, 1)}
		tellers = append(tellers, t)
		wg.Go(func() { t.run(ctx) })
	}
	if len(tellers) > 0 {
		wg.Go(func() { n.watch(ctx, tellers) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.Reloaded:
			if next := n.Settings(); !slices.Equal(next.Notify, settings.Notify) || !slices.Equal(next.Keys, settings.Keys) {
				return
			}
		}
	}
}

// watch passes on each View that differs from the one before it.
func (n *Notifier) watch(ctx context.Context, tellers []*teller) {
	w := n.Views.Watch()
	for {
		v, change, err := w.Next(ctx)
		if err != nil {
			return
		}
		if change.None() || !v.Synced() || v.Zone() == nil {
			continue
		}
		for n.Answering() < v.Sequence() {
			if !waitUntil(ctx, time.Now().Add(answerPause), nil) {
				return
			}
		}
		for _, t := range tellers {
			t.latest.Store(v)
			select {
			case t.changed <- struct{}{}:
			default: // it has not looked yet
			}
		}
	}
}

// teller tells one secondary.
type teller struct {
	target   netip.AddrPort
	source   netip.Addr
	key      tsig.Key // the zero Key: none
	observer Observer
	log      *slog.Logger
	changed  chan struct{}
	latest   atomic.Pointer[registry.View]
	silent   bool // it did not answer the last time, or answered with an error
}

func (t *teller) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.changed:
		}
		pause := notifyPause
		for {
			began := time.Now()
			told := t.tell(ctx)
			if told {
				pause = notifyPause
			}
			// One that does not answer is asked again sooner when there is more news,
			// but never more often than others.
			if !waitUntil(ctx, began.Add(notifyPause), nil) {
				return
			}
			if told || !waitUntil(ctx, began.Add(pause), t.changed) {
				break
			}
			pause = min(2*pause, maxNotifyPause)
		}
	}
}

// waitUntil returns true at a moment, or sooner when something comes over the
// channel, and false when ctx ends.
func waitUntil(ctx context.Context, moment time.Time, sooner <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(moment))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-sooner:
	case <-ctx.Done():
		return false
	}
	return true
}

// tell sends the latest news once, and reports whether the secondary took note of it. An
// error is no such note: it may have no zone yet, or be busy.
func (t *teller) tell(ctx context.Context) bool {
	rcode, err := t.exchange(ctx, t.latest.Load())
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		t.observer.Transferred(Notify, Unanswered)
		if !t.silent {
			t.silent = true
			t.log.Warn("a secondary does not answer NOTIFY: telling it again until it does", "secondary", t.target.String(), "err", err)
		}
		return false
	case rcode != dns.RcodeSuccess:
		t.observer.Transferred(Notify, Rejected)
		if !t.silent {
			t.silent = true
			t.log.Warn("a secondary rejects NOTIFY: telling it again until it does not", "secondary", t.target.String(), "rcode", dns.RcodeToString[rcode])
		}
		return false
	}
	t.observer.Transferred(Notify, Answered)
	if t.silent {
		t.silent = false
		t.log.Info("a secondary takes NOTIFY again", "secondary", t.target.String())
	}
	return true
}

// exchange sends one NOTIFY and waits for its answer.
func (t *teller) exchange(ctx context.Context, v *registry.View) (rcode int, err error) {
	message := new(dns.Msg)
	message.SetNotify(v.Zone().Name)
	message.Id = uint16(rand.Uint32())
	message.Answer = []dns.RR{soaOf(v)}
	packet, err := message.Pack()
	if err != nil {
		return 0, fmt.Errorf("transfer: %w", err)
	}
	var mac []byte
	if t.key.Name() != "" {
		packet, mac = tsig.Request(packet, t.key, time.Now())
	}
	var dialer net.Dialer
	if t.source.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.source, 0))
	}
	conn, err := dialer.DialContext(ctx, "udp", t.target.String())
	if err != nil {
		return 0, fmt.Errorf("transfer: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(answerPatience))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(packet); err != nil {
		return 0, fmt.Errorf("transfer: %w", err)
	}
	buffer := make([]byte, dns.MaxMsgSize)
	for {
		length, err := conn.Read(buffer)
		if err != nil {
			return 0, fmt.Errorf("transfer: %w", err)
		}
		if rcode, ok := t.answered(buffer[:length], message.Id, mac); ok {
			return rcode, nil
		}
	}
}

// answered reads an answer; ok is false when it is none. An error needs no signature:
// a secondary that does not know the key has none to sign it with.
func (t *teller) answered(packet []byte, id uint16, mac []byte) (rcode int, ok bool) {
	if len(packet) < headerLength || binary.BigEndian.Uint16(packet) != id || packet[2]&0xf8 != 0x80|dns.OpcodeNotify<<3 {
		return 0, false
	}
	rcode = int(packet[3] & 0x0f)
	if rcode == dns.RcodeSuccess && t.key.Name() != "" && tsig.VerifyAnswer(packet, t.key, mac, time.Now()) != nil {
		return 0, false
	}
	return rcode, true
}
