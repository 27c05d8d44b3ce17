package chain_test

import (
	"testing"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// A reader that is told to refuse takes nothing that its writer did not sign, on no way:
// what was good before stays.
func TestReaderRefusesWhatIsNotSigned(t *testing.T) {
	server, c := streamtest.Streams(t)
	key, other := signer(t), signer(t)
	c.SignWith(key)
	a := &agent{t: t, writer: "amber"}
	a.takeOver(c)
	a.publish(3, 2)

	reader := streamtest.Connect(t, server)
	keys, err := chain.NewKeys(map[string][]chain.Key{"amber": {{Public: key.Public()}}})
	if err != nil {
		t.Fatal(err)
	}
	reader.CheckWith(keys.Check)
	load := func() map[registry.Fact]registry.Message {
		all, err := reader.LoadWriter(t.Context(), "amber")
		if err != nil {
			t.Fatal(err)
		}
		last := map[registry.Fact]registry.Message{}
		for _, m := range all {
			last[m.Fact] = m
		}
		return last
	}
	for fact, m := range load() {
		if m.Refused != nil {
			t.Errorf("%v is refused: %v", fact, m.Refused)
		}
	}

	fact := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: "s0"}}
	good, found, err := reader.Last(t.Context(), fact)
	if err != nil || !found || good.Event == nil {
		t.Fatalf("the good one: %+v, %v", good, err)
	}
	for name, by := range map[string]*chain.Signer{"nobody": nil, "somebody else": other} {
		if c.SignWith(nil); by != nil {
			c.SignWith(by)
		}
		a.publish(1, 5)
		m := load()[fact]
		if m.Refused == nil || m.Refused.Reason != "signature" || m.Event != nil || m.Revision != a.revision {
			t.Errorf("signed by %s: %+v", name, m)
		}
		if last, _, err := reader.Last(t.Context(), fact); err != nil || last.Refused == nil || last.Sequence != m.Sequence {
			t.Errorf("signed by %s, alone: %+v, %v", name, last, err)
		}
		if behind, err := reader.LoadFact(t.Context(), fact, m.Sequence); err != nil || len(behind) != 1 || behind[0].Sequence != good.Sequence {
			t.Errorf("signed by %s: what is behind it is %+v, %v, want the one at #%d", name, behind, err, good.Sequence)
		}
	}
	if m, _, err := c.Last(t.Context(), fact); err != nil || m.Refused != nil {
		t.Errorf("a reader without a check: %+v, %v", m, err)
	}
}

func TestCheckTakesWhatNeedsNoSignature(t *testing.T) {
	h, all := authors(t, false)
	a := all[0]
	a.begin()
	before := a.publish(service(1))
	since := h.clock.Add(1)
	key := signer(t)
	keys, err := chain.NewKeys(map[string][]chain.Key{"amber": {{Public: key.Public(), From: &since}}})
	if err != nil {
		t.Fatal(err)
	}
	after := a.publish(service(2))
	a.signer = key
	signed := a.publish(service(3))
	fill := registry.Stored{Sequence: 9, Time: h.clock, Subject: "mesh.v1._operator.note." + stream.NoteFill, Body: []byte("{}")}
	altered := clone(signed)
	altered.Header["Content-Encoding"] = []string{"gzip"}
	stranger := clone(signed)
	stranger.Subject = "mesh.v1.bronze.svc.default.s3"
	sign(stranger, key)
	for name, test := range map[string]struct {
		m  registry.Stored
		ok bool
	}{
		"before the first key": {before, true}, "unsigned after it": {after, false}, "signed": {signed, true}, "a note that fills up": {fill, true},
		"altered": {altered, false}, "a writer without a key": {stranger, false},
	} {
		if err := keys.Check(test.m); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
