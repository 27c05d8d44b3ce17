package registry_test

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// FuzzDecode: no body panics the decoder; what it accepts, it accepts again after
// encoding, with the same bytes; what it refuses, it refuses in few words.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", serviceBody(instanceBody("a", `,"meta":{"k":"v"}`)), serviceBody(instanceBody("b", "") + "," + instanceBody("a", "")),
		body("cluster", `"cluster":{"cluster":"amber","gateways":[{"name":"gw","addresses":["::ffff:192.0.2.1","192.0.2.1"],"ports":{"http":80},"weight":1}]}`),
		body("epoch", `"takeover":{"fences":[{"epoch":4,"sequence":9},{"epoch":5,"sequence":10}]}`),
		body("snapshot", `"snapshot":{"keys":1,"digest":"000102030405060708090a0b0c0d0e0f"}`),
		body("note", `"note":{"kind":"brake","text":"held","data":{"a":"b"}}`),
		body("order", `"order":{"kind":"drain","target":"amber.shop","by":"x","reason":"y"}`),
		body("zone", `"zone":{"name":"MESH.internal.","ttl":5,"negative_ttl":5,"contact":"a.b.","ttl_by_service":[{"pattern":"*/*","ttl":6}],"nameservers":[{"name":"ns1.mesh.internal.","addresses":["192.0.2.1"]}]}`),
		body("weather", `"weather":[[[[]]]]`),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		event, err := decodeBoth(t, &registry.Decoder{}, text)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		once, err := registry.Encode(event)
		if err != nil {
			t.Fatalf("Encode of a decoded event: %v", err)
		}
		if len(once) > registry.MaxBody {
			return // escaping made it longer than a body may be
		}
		again, err := registry.Decode(once)
		if err != nil {
			t.Fatalf("Decode of an encoded event: %v\n%s", err, once)
		}
		twice, err := registry.Encode(again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encoded, decoded and encoded again it differs (%v):\n%s\n%s", err, once, twice)
		}
		if event.Service != nil && event.Service.Digest() != again.Service.Digest() {
			t.Fatalf("the digest does not survive:\n%s", once)
		}
		if cut, err := registry.Truncate(event, len(once)*2/3); err == nil {
			if shorter, err := registry.Encode(cut); err != nil || len(shorter) > len(once)*2/3 {
				t.Fatalf("Truncate to %d bytes gives %d, %v", len(once)*2/3, len(shorter), err)
			}
		} else {
			checkRefusal(t, err)
		}
	})
}

func FuzzDecodeLease(f *testing.F) {
	sound, err := registry.EncodeLease(registry.Lease{Schema: registry.Schema, Writer: "amber", Phase: registry.PhaseSynced, Time: time.Unix(began, 0).UTC()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sound)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lease, err := registry.DecodeLease(text)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		encoded, err := registry.EncodeLease(lease)
		if err != nil {
			t.Fatalf("EncodeLease of a decoded lease: %v", err)
		}
		if again, err := registry.DecodeLease(encoded); err != nil || !again.Time.Equal(lease.Time) || again.Writer != lease.Writer || again.Digest != lease.Digest {
			t.Fatalf("decoded again: %+v, %v; want %+v", again, err, lease)
		}
	})
}

// FuzzFold looks for a history that two readers fold to different Views. Its
// inputs are random bits for the generator of histories; run it with
// -fuzzminimizetime=1x, because the tables' hash seed makes coverage vary.
func FuzzFold(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		history := drawStream(t).messages
		got := bootstrapAndTail(t, history).fold.View().AppendCanonical(nil)
		if !bytes.Equal(got, at(history).AppendCanonical(nil)) {
			t.Fatal("bootstrap and tail give another View than the whole history")
		}
	}))
}

func FuzzLabel(f *testing.F) {
	for _, seed := range []string{"", "api", "Shop.Cart_v1", "DEFAULT_GROUP@@x", "-", "xn--bcher-kva"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		label := registry.Label(name)
		if label != "" && !validLabel.MatchString(label) {
			t.Fatalf("Label(%q) = %q", name, label)
		}
		key, err := registry.ParseServiceKey(name, name)
		if err != nil {
			checkRefusal(t, err)
		} else if name != "" && (key.Labels().Name != label || label == "") {
			t.Fatalf("%q is accepted and has the label %q", name, label)
		}
		if p, err := registry.ParsePattern(name); err == nil {
			p.Match(registry.ServiceKey{Namespace: name, Name: name})
		} else {
			checkRefusal(t, err)
		}
	})
}
