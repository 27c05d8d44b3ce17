package stream_test

import (
	"bytes"
	"compress/gzip"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// raw returns a stored message as the server has it.
func raw(t testing.TB, c *stream.Conn, sequence uint64) *jetstream.RawStreamMsg {
	t.Helper()
	js := streamtest.JetStream(t, c)
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestHeaders(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	e := a.service(`a"b%c`, 1)
	publish(t, w, fence, e)
	m := raw(t, c, 2)
	want := map[string]string{
		"Nats-Msg-Id": e.ID, "Seamark-Epoch": "", "Seamark-Revision": "2", "Content-Type": "application/json",
		"ce-specversion": "1.0", "ce-id": e.ID, "ce-type": "seamark.service.v1", "ce-source": "/seamark/amber",
		"ce-time": e.Time.Format(time.RFC3339Nano), "ce-subject": "default/a%22b%25c",
	}
	for key, value := range want {
		if got := m.Header.Get(key); got != value && (value != "" || got == "") {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
	if m.Subject != "mesh.v1.amber.svc.default.a=22b=25c" {
		t.Errorf("subject %q", m.Subject)
	}
	body, err := registry.Encode(e)
	if err != nil || !bytes.Equal(m.Data, body) {
		t.Errorf("body %s, %v", m.Data, err)
	}
}

// Large bodies are compressed; what the server can't take is cut, and said.
func TestLargeServices(t *testing.T) {
	for name, test := range map[string]struct {
		instances  int
		maxPayload int32
		zipped     bool
		cut        bool
	}{
		"small":                    {instances: 10},
		"compressed":               {instances: 1000, zipped: true},
		"more than the body's max": {instances: 8000, zipped: true, cut: true},
		"small server":             {instances: 1500, maxPayload: 16 << 10, zipped: true, cut: true},
		"middle server":            {instances: 2500, maxPayload: 40 << 10, zipped: true, cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := streamtest.StartWith(t, func(o *server.Options) {
				if test.maxPayload != 0 {
					o.MaxPayload = test.maxPayload
				}
			})
			c := streamtest.Connect(t, s)
			streamtest.Create(t, c, 1)
			a, w := newAuthor("amber"), c.Writer("amber")
			fence := a.begin(t, w, 0)
			small, large := a.service("small", 1), a.service("large", test.instances)
			stored, err := w.Publish(t.Context(), []*registry.Event{small, large}, fence)
			if err != nil {
				t.Fatal(err)
			}
			again := stored
			if test.maxPayload != 0 {
				again, err = w.Publish(t.Context(), []*registry.Event{small, large}, fence)
			}
			if err != nil || lastSequence(t, c, stream.EventsStream) != 3 {
				t.Errorf("sent again: %v", err)
			}
			if (stored != nil) != test.cut {
				t.Fatalf("stored = %v, want cut = %v", stored, test.cut)
			}
			if got := raw(t, c, 3).Header.Get("Content-Encoding") == "gzip"; got != test.zipped {
				t.Errorf("compressed = %v, want %v", got, test.zipped)
			}
			m, found, err := c.Last(t.Context(), large.Fact())
			if err != nil || !found || m.Refused != nil {
				t.Fatalf("Last() = %v, %v, %v", m.Refused, found, err)
			}
			got := m.Event.Service
			if got.Total != test.instances || got.Serving != test.instances || got.Truncated != test.cut || (len(got.Instances) < test.instances) != test.cut {
				t.Errorf("%d of %d instances, %d serving, truncated = %v", len(got.Instances), got.Total, got.Serving, got.Truncated)
			}
			if test.cut {
				if stored[0] != nil || len(got.Instances) == 0 || stored[1].Service.Digest() != m.Digest || again[1].Service.Digest() != m.Digest {
					t.Errorf("what is said to be stored is not what is stored")
				}
			}
		})
	}
}

func TestDecodeKeepsItsPlace(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	m := stream.Decode("mesh.v1.amber.svc.default.x", nil, nil, 7, at)
	if m.Refused == nil || m.Sequence != 7 || !m.Stored.Equal(at) || m.Fact.Service.Name != "x" {
		t.Errorf("%+v", m)
	}
	m = stream.Decode("somewhere.else", nil, nil, 7, at)
	if m.Refused == nil || m.Sequence != 7 || m.Fact != (registry.Fact{}) {
		t.Errorf("%+v", m)
	}
}

// A small message that inflates to much is refused before it has.
func TestDecodeIsBounded(t *testing.T) {
	bomb := zipped(t, make([]byte, 32<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m := stream.Decode("mesh.v1.amber.svc.default.x", nats.Header{"Content-Encoding": {"gzip"}}, bomb, 7, time.Now())
	runtime.ReadMemStats(&after)
	if m.Refused == nil || m.Refused.Reason != "too-large" {
		t.Errorf("refusal %+v", m.Refused)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("%d bytes were allocated for a body of %d", took, len(bomb))
	}
}

func FuzzDecode(f *testing.F) {
	a := newAuthor("amber")
	for _, e := range []*registry.Event{a.takeover(), a.service("x", 2)} {
		body, err := registry.Encode(e)
		if err != nil {
			f.Fatal(err)
		}
		subject, err := stream.Subject(e.Fact())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(subject, "1", "2", "", body)
		f.Add(subject, "1", "2", "gzip", zipped(f, body))
	}
	f.Fuzz(func(t *testing.T, subject, epoch, revision, encoding string, body []byte) {
		h := nats.Header{"Seamark-Epoch": {epoch}, "Seamark-Revision": {revision}, "Content-Encoding": {encoding}}
		before := maps.Clone(h)
		m := stream.Decode(subject, h, body, 9, time.Unix(1_800_000_000, 0))
		if (m.Event == nil) == (m.Refused == nil) || m.Sequence != 9 {
			t.Fatalf("event %v, refusal %v, sequence %d", m.Event, m.Refused, m.Sequence)
		}
		if m.Refused != nil && (m.Refused.Reason == "" || len(m.Refused.Detail) > 2000) {
			t.Fatalf("refusal %+v", m.Refused)
		}
		if len(h) != len(before) {
			t.Fatal("the header was changed")
		}
		registry.NewFold().Apply(m)
	})
}
