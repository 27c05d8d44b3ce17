package chain_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// draw makes a valid history of some writers: bursts, takeovers by agents that publish
// nothing too, refreshes of the epoch's record, and bursts that are sent again because
// nobody heard that they, or some of them, were stored.
func draw(t *rapid.T, authors ...*author) {
	for _, a := range authors {
		a.begin()
	}
	for range rapid.IntRange(3, 12).Draw(t, "steps") {
		a := authors[rapid.IntRange(0, len(authors)-1).Draw(t, "writer")]
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0:
			a.begin()
		case 1:
			a.refresh()
		default:
			var burst []registry.Stored
			for n := range rapid.IntRange(1, 6).Draw(t, "burst") {
				burst = append(burst, a.make(a.subject(n)))
			}
			for again := 0; again < 3 && rapid.IntRange(0, 4).Draw(t, "unheard") == 0; again++ {
				for _, m := range burst[:rapid.IntRange(1, len(burst)).Draw(t, "stored")] {
					a.history.store(m)
				}
			}
			for _, m := range burst {
				a.history.store(m)
			}
		}
	}
	for _, a := range authors { // an epoch says what it joins with its second message
		a.publish(a.subject(0))
		a.publish(a.subject(1))
	}
}

func authors(t testing.TB, signed bool) (*history, []*author) {
	h := newHistory()
	all := []*author{{history: h, writer: "amber", epoch: 1000}, {history: h, writer: "bronze", epoch: 1000}, {history: h, writer: "_observer", epoch: 1000}}
	if signed {
		for _, a := range all {
			a.signer = signer(t)
		}
	}
	return h, all
}

func TestValidHistoryIsIntact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		signed := rapid.Bool().Draw(rt, "signed")
		h, all := authors(t, signed)
		all[1].bare = rapid.Bool().Draw(rt, "old version") && !signed
		draw(rt, all...)
		if all[1].bare { // the agent is updated
			all[1].bare = false
			draw(rt, all[1])
		}
		cut := rapid.IntRange(0, len(h.messages)-1).Draw(rt, "aged out")
		r := verify(h.messages[cut:], chain.Options{Keys: keysOf(t, all...), Whole: true})
		if !r.Intact() {
			rt.Fatalf("a valid history, of which %d of %d messages have aged out, has faults: %v", cut, len(h.messages), r.Faults)
		}
		if r.Messages != uint64(len(h.messages)-cut) {
			rt.Errorf("%d messages counted", r.Messages)
		}
	})
}

// mutation is one way to rewrite a history, and what is found then.
type mutation struct {
	name string
	// apply changes the messages of one author, whose indices are own; false: not here.
	apply func(t *rapid.T, h []registry.Stored, own []int) (changed []registry.Stored, at registry.Stored, ok bool)
	plain chain.Kind // expected without signatures
	proof chain.Kind // expected with
}

func revisionOf(m registry.Stored) string {
	return m.Header["Seamark-Epoch"][0] + "." + m.Header["Seamark-Revision"][0]
}

// lone reports whether a message is an epoch's record and the last one, and the one before
// it is a record too: without signatures nobody can tell whether the one is gone or the
// other altered.
func lone(h []registry.Stored, own []int, n int) bool {
	at := slices.Index(own, n)
	first := func(o int) bool { return h[o].Header["Seamark-Revision"][0] == "1" }
	return at > 0 && at+1 < len(own) && h[n].Header["Seamark-Signature"] == nil && strings.HasSuffix(h[n].Subject, ".epoch") &&
		strings.HasSuffix(h[own[at-1]].Subject, ".epoch") && first(own[at+1])
}

// unknown reports whether a message is an epoch's record that only the next epoch's record
// names, or would have to, and no record of the writer is left before it: then it can't be
// told from one that has aged out.
func unknown(h []registry.Stored, own []int, n int) bool {
	at := slices.Index(own, n)
	first := func(o int) bool { return h[o].Header["Seamark-Revision"][0] == "1" }
	record := func(o int) bool { return strings.HasSuffix(h[o].Subject, ".epoch") }
	return record(n) && (first(n) || at+1 < len(own) && first(own[at+1])) && !slices.ContainsFunc(own[:at], record)
}

// once reports whether a message stands there a single time.
func once(h []registry.Stored, m registry.Stored) bool {
	n := 0
	for _, o := range h {
		if o.Header["Nats-Msg-Id"][0] == m.Header["Nats-Msg-Id"][0] {
			n++
		}
	}
	return n == 1
}

// below reports whether a message is before another one of its epoch.
func below(a, b registry.Stored) bool {
	number := func(m registry.Stored) int { n, _ := strconv.Atoi(m.Header["Seamark-Revision"][0]); return n }
	return a.Header["Seamark-Epoch"][0] == b.Header["Seamark-Epoch"][0] && number(a) < number(b)
}

// inner draws one of the author's messages that stands once and has others of his on both sides.
func inner(t *rapid.T, h []registry.Stored, own []int, behind int) (int, bool) {
	if len(own) < 3+behind || slices.ContainsFunc(own, func(o int) bool { return below(h[o], h[own[0]]) }) {
		return 0, false // what was sent again had aged out before: too little is known of it
	}
	n := rapid.IntRange(1, len(own)-1-behind).Draw(t, "which")
	return own[n], once(h, h[own[n]])
}

func changeOf(change func(t *rapid.T, m *registry.Stored)) func(*rapid.T, []registry.Stored, []int) ([]registry.Stored, registry.Stored, bool) {
	return func(t *rapid.T, h []registry.Stored, own []int) ([]registry.Stored, registry.Stored, bool) {
		n, ok := inner(t, h, own, 2)
		if !ok {
			return nil, registry.Stored{}, false
		}
		h = slices.Clone(h)
		h[n] = clone(h[n])
		change(t, &h[n])
		return h, h[n], true
	}
}

func sealAgain(m registry.Stored) {
	delete(m.Header, "Seamark-Key")
	delete(m.Header, "Seamark-Signature")
	sign(m, nil)
}

var mutations = []mutation{
	{"a message is removed", func(t *rapid.T, h []registry.Stored, own []int) ([]registry.Stored, registry.Stored, bool) {
		n, ok := inner(t, h, own, 2)
		if !ok || unknown(h, own, n) || lone(h, own, n) {
			return nil, registry.Stored{}, false
		}
		return slices.Delete(slices.Clone(h), n, n+1), h[n], true
	}, chain.Missing, chain.Missing},
	{"a body is changed", changeOf(func(_ *rapid.T, m *registry.Stored) { m.Body = append(m.Body, ' ') }), chain.Altered, chain.Altered},
	{"a header is changed", changeOf(func(t *rapid.T, m *registry.Stored) {
		name := rapid.SampledFrom([]string{"ce-type", "Nats-Msg-Id", "Seamark-Previous", "Content-Encoding", "Seamark-Chain"}).Draw(t, "header")
		if m.Header[name] = []string{"gzip"}; name == "Seamark-Chain" || name == "Seamark-Previous" {
			m.Header[name] = []string{stream.LinkOf("x", nil, nil).String()}
		}
	}), chain.Altered, chain.Altered},
	{"a subject is changed", changeOf(func(_ *rapid.T, m *registry.Stored) { m.Subject += "x" }), chain.Altered, chain.Altered},
	{"a body is changed and its digest made anew", changeOf(func(_ *rapid.T, m *registry.Stored) {
		m.Body = append(m.Body, ' ')
		signature, key := m.Header["Seamark-Signature"], m.Header["Seamark-Key"]
		if sealAgain(*m); key != nil {
			m.Header["Seamark-Signature"], m.Header["Seamark-Key"] = signature, key
		}
	}), chain.Altered, chain.Altered},
	{"its signature is removed with it", changeOf(func(_ *rapid.T, m *registry.Stored) {
		m.Body = append(m.Body, ' ')
		sealAgain(*m)
	}), chain.Altered, chain.Unsigned},
	{"the chain's headers are removed", changeOf(func(_ *rapid.T, m *registry.Stored) {
		for _, name := range []string{"Seamark-Chain", "Seamark-Previous", "Seamark-Joins", "Seamark-Key", "Seamark-Signature"} {
			delete(m.Header, name)
		}
	}), chain.Altered, chain.Unsigned},
	{"two messages are swapped", func(t *rapid.T, h []registry.Stored, own []int) ([]registry.Stored, registry.Stored, bool) {
		n, ok := inner(t, h, own, 2)
		if !ok {
			return nil, registry.Stored{}, false
		}
		next := own[slices.Index(own, n)+1]
		if !once(h, h[next]) || h[n].Header["Seamark-Epoch"][0] != h[next].Header["Seamark-Epoch"][0] || h[n].Header["Seamark-Revision"][0] == "1" {
			return nil, registry.Stored{}, false
		}
		h = slices.Clone(h)
		h[n], h[next] = h[next], h[n]
		return h, h[next], true
	}, chain.Reordered, chain.Reordered},
	{"a message is moved to the end", func(t *rapid.T, h []registry.Stored, own []int) ([]registry.Stored, registry.Stored, bool) {
		n, ok := inner(t, h, own, 3)
		if !ok || h[n].Header["Seamark-Revision"][0] == "1" || h[n].Header["Seamark-Epoch"][0] != h[own[len(own)-1]].Header["Seamark-Epoch"][0] {
			return nil, registry.Stored{}, false
		}
		for _, o := range own[slices.Index(own, n):] {
			if !once(h, h[o]) {
				return nil, registry.Stored{}, false
			}
		}
		moved := h[n]
		return append(slices.Delete(slices.Clone(h), n, n+1), moved), moved, true
	}, chain.Reordered, chain.Reordered},
	{"an old message is repeated", func(t *rapid.T, h []registry.Stored, own []int) ([]registry.Stored, registry.Stored, bool) {
		n, ok := inner(t, h, own, 1)
		if !ok || !slices.ContainsFunc(h[n+1:], func(m registry.Stored) bool {
			return m.Subject == h[n].Subject && m.Header["Nats-Msg-Id"][0] != h[n].Header["Nats-Msg-Id"][0]
		}) {
			return nil, registry.Stored{}, false
		}
		return append(slices.Clone(h), h[n]), h[n], true
	}, chain.Inserted, chain.Inserted},
	{"a message without a digest is inserted", insert(func(_ *rapid.T, m *registry.Stored) {
		for _, name := range []string{"Seamark-Chain", "Seamark-Previous", "Seamark-Joins", "Seamark-Key", "Seamark-Signature"} {
			delete(m.Header, name)
		}
	}), chain.Inserted, chain.Unsigned},
	{"a message that follows none is inserted", insert(func(_ *rapid.T, m *registry.Stored) {
		delete(m.Header, "Seamark-Joins")
		m.Header["Seamark-Previous"] = []string{stream.LinkOf("x", nil, nil).String()}
		sealAgain(*m)
	}), chain.Inserted, chain.Unsigned},
	{"a copy with another body is inserted", insert(func(_ *rapid.T, m *registry.Stored) {}), chain.Inserted, chain.Inserted},
	{"a message that follows another is inserted", insert(func(_ *rapid.T, m *registry.Stored) { sealAgain(*m) }), chain.Fork, chain.Unsigned},
}

// insert puts a message that is made of one that stands there behind it, after at least
// one other of the author.
func insert(change func(t *rapid.T, m *registry.Stored)) func(*rapid.T, []registry.Stored, []int) ([]registry.Stored, registry.Stored, bool) {
	return func(t *rapid.T, h []registry.Stored, own []int) ([]registry.Stored, registry.Stored, bool) {
		n, ok := inner(t, h, own, 3)
		if !ok || h[n].Header["Seamark-Revision"][0] == "1" {
			return nil, registry.Stored{}, false
		}
		m := clone(h[n])
		m.Body = append(m.Body, ' ')
		change(t, &m)
		m.Header["Nats-Test"] = []string{"inserted"}
		at := own[slices.Index(own, n)+rapid.IntRange(0, 2).Draw(t, "behind")] + 1
		return slices.Insert(slices.Clone(h), at, m), m, true
	}
}

// Any single change of a valid history is found, and named for what it is.
func TestEveryMutationIsNamed(t *testing.T) {
	for _, m := range mutations {
		for _, signed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, signed %v", m.name, signed), func(t *testing.T) {
				t.Parallel()
				applied := 0
				rapid.Check(t, func(rt *rapid.T) {
					h, all := authors(t, signed)
					draw(rt, all...)
					draw(rt, all...)
					cut := rapid.IntRange(0, len(h.messages)/3).Draw(rt, "aged out")
					messages := h.messages[cut:]
					victim := all[rapid.IntRange(0, len(all)-1).Draw(rt, "victim")]
					var own []int
					for n, s := range messages {
						if s.Subject[len("mesh.v1."):][:len(victim.writer)] == victim.writer {
							own = append(own, n)
						}
					}
					changed, at, ok := m.apply(rt, messages, own)
					if !ok {
						return
					}
					applied++
					want := m.plain
					if signed {
						want = m.proof
					}
					r := verify(renumber(changed), chain.Options{Keys: keysOf(t, all...), Whole: true})
					if got := kinds(r); len(got) != 1 || got[0] != want {
						rt.Fatalf("message %s of %s: found %v, want %s only:\n%v", revisionOf(at), victim.writer, got, want, r.Faults)
					}
					if f := r.Faults[0]; string(f.Writer) != victim.writer {
						rt.Errorf("the fault is %v, want one of %s", f, victim.writer)
					} else if want != chain.Reordered && !strings.Contains(f.Detail, "names an epoch record") && fmt.Sprintf("%d.%d", f.Epoch, f.Revision) != revisionOf(at) {
						rt.Errorf("the fault is %v, want one at %s", f, revisionOf(at))
					}
				})
				if applied < 3 {
					t.Fatalf("the change could be made %d times only", applied)
				}
			})
		}
	}
}

func TestKeysSayWhoMaySignWhen(t *testing.T) {
	h, all := authors(t, true)
	a := all[0]
	a.begin()
	for n := range 9 {
		a.publish(service(n))
	}
	at := func(n int) *time.Time { return &h.messages[n].Time }
	other := signer(t)
	for name, test := range map[string]struct {
		keys []chain.Key
		want []chain.Kind
		from uint64
	}{
		"its own":               {[]chain.Key{{Public: a.signer.Public()}}, nil, 0},
		"another":               {[]chain.Key{{Public: other.Public()}}, []chain.Kind{chain.UnknownKey}, 1},
		"revoked":               {[]chain.Key{{Public: a.signer.Public(), Revoked: at(5)}}, []chain.Kind{chain.RevokedKey}, 6},
		"replaced":              {[]chain.Key{{Public: a.signer.Public(), Until: at(3)}, {Public: other.Public(), From: at(3)}}, []chain.Kind{chain.RevokedKey}, 4},
		"not valid yet":         {[]chain.Key{{Public: a.signer.Public(), From: at(4)}}, []chain.Kind{chain.RevokedKey}, 1},
		"twice, with two times": {[]chain.Key{{Public: a.signer.Public(), Until: at(3)}, {Public: a.signer.Public(), From: at(3)}}, nil, 0},
		"revoked though twice":  {[]chain.Key{{Public: a.signer.Public(), Revoked: at(5)}, {Public: a.signer.Public(), Revoked: at(5)}}, []chain.Kind{chain.RevokedKey}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := chain.NewKeys(map[string][]chain.Key{"amber": test.keys})
			if err != nil {
				t.Fatal(err)
			}
			r := verify(h.messages, chain.Options{Keys: keys, Whole: true})
			if got := kinds(r); !slices.Equal(got, test.want) {
				t.Fatalf("found %v, want %v: %v", got, test.want, r.Faults)
			}
			if len(test.want) > 0 && r.Faults[0].Sequence != test.from {
				t.Errorf("the first fault is at #%d, want #%d", r.Faults[0].Sequence, test.from)
			}
			if w, _ := r.Of("amber"); test.want == nil && (w.Signed != 10 || !slices.Equal(w.Keys, []string{a.signer.Public()})) {
				t.Errorf("%+v", w)
			}
		})
	}
}

// What was written before a writer had a key need not be signed.
func TestUnsignedBeforeTheFirstKeyIsNoFault(t *testing.T) {
	h, all := authors(t, false)
	a := all[0]
	a.begin()
	a.publish(service(1))
	since := h.clock.Add(time.Second)
	a.signer = signer(t)
	a.publish(service(2))
	keys, err := chain.NewKeys(map[string][]chain.Key{"amber": {{Public: a.signer.Public(), From: &since}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(h.messages, chain.Options{Keys: keys}); !r.Intact() {
		t.Error(r.Faults)
	}
	a.signer = nil
	a.publish(service(3))
	if r := verify(h.messages, chain.Options{Keys: keys}); len(r.Faults) != 1 || r.Faults[0].Kind != chain.Unsigned || r.Faults[0].Sequence != 4 {
		t.Error(r.Faults)
	}
}

// What had aged out before it was archived was held to be missing for ever.
func TestWhatIsKnownToBeGoneIsNoFault(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h, all := authors(t, rapid.Bool().Draw(rt, "signed"))
		draw(rt, all...)
		from := rapid.IntRange(1, len(h.messages)-2).Draw(rt, "from")
		to := rapid.IntRange(from, len(h.messages)-2).Draw(rt, "to")
		left := slices.Delete(slices.Clone(h.messages), from, to+1)
		known := [2]uint64{h.messages[from].Sequence, h.messages[to].Sequence}
		o := chain.Options{Keys: keysOf(t, all...), Whole: true, Known: [][2]uint64{known}}
		r := verify(left, o)
		if !r.Intact() || len(r.AgedOut) != 1 || r.AgedOut[0] != known {
			rt.Fatalf("%v of %d is known to be gone, and told is %v, faults: %v", known, len(h.messages), r.AgedOut, r.Faults)
		}
		if to > from {
			o.Known = [][2]uint64{{known[0] + 1, known[1]}}
			if r := verify(left, o); !slices.ContainsFunc(r.Faults, func(f chain.Fault) bool { return f.Kind == chain.Missing && f.Writer == "" && f.Sequence == known[0] }) {
				rt.Fatalf("#%d is gone and not told: %v", known[0], r.Faults)
			}
		}
	})
}
