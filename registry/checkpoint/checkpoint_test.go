package checkpoint_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
)

const zone = "mesh.internal."

var moment = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

// world makes a View of so many services in three clusters.
func world(tb testing.TB, services int) *registry.View {
	tb.Helper()
	f := registry.NewFold()
	sequence := uint64(0)
	take := func(e registry.Event) {
		sequence++
		e.Schema, e.Cause, e.Time = registry.Schema, registry.CauseChange, moment
		if e.Epoch > 0 && e.Revision == 0 {
			e.Revision = sequence
		}
		body, err := registry.Encode(&e)
		if err != nil {
			tb.Fatal(err)
		}
		again, err := registry.Decode(body)
		if err != nil {
			tb.Fatal(err)
		}
		m := registry.NewMessage(again.Fact(), sequence, moment, e.Epoch, e.Revision, again, nil)
		if out := f.Apply(m); out.Result != registry.Applied {
			tb.Fatalf("%+v: %+v %v", m.Fact, out, m.Refused)
		}
	}
	take(registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &registry.ZoneRecord{Name: zone, TTL: 5, NegativeTTL: 5, Contact: "hostmaster." + zone}})
	epoch := uint64(moment.Unix())
	clusters := []registry.ClusterID{"amber", "bronze", "cobalt"}
	for _, c := range clusters {
		w := registry.Writer(c)
		take(registry.Event{Kind: registry.KindEpoch, Writer: w, Epoch: epoch, Takeover: &registry.EpochRecord{}})
		take(registry.Event{Kind: registry.KindCluster, Writer: w, Epoch: epoch, Cluster: &registry.ClusterRecord{Cluster: c, Gateways: []registry.Gateway{}}})
	}
	for n := range services {
		c := clusters[n%len(clusters)]
		key := registry.ServiceKey{Namespace: "default", Name: fmt.Sprintf("service-%06d", n)}
		s := registry.Service{Key: key}
		for i := range 3 {
			s.Instances = append(s.Instances, registry.Instance{
				ID: fmt.Sprintf("%s-%d", key.Name, i), Address: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255), Port: 8080 + i, Weight: 1,
				Health: registry.Passing, Version: "1.2.3", Meta: map[string]string{"rack": fmt.Sprintf("r%d", n%7), "team": "payments"},
			})
		}
		state := registry.NewServiceState(key, &s)
		state.Changed = registry.Stamp{Epoch: epoch, Revision: sequence + 1, Time: moment}
		take(registry.Event{Kind: registry.KindService, Writer: registry.Writer(c), Epoch: epoch, Service: &state})
	}
	f.Synced()
	return f.View()
}

func of(v *registry.View) checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Zone: zone, Created: moment, Sequence: v.Sequence(), Current: moment, Stored: moment.Add(time.Second), Facts: v.Facts(), Before: []time.Time{moment.Add(-time.Hour)}}
}

func encoded(tb testing.TB, c checkpoint.Checkpoint) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := checkpoint.Encode(&b, c); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestACheckpointIsReadAsItWasWritten(t *testing.T) {
	v := world(t, 500)
	want := of(v)
	got, err := checkpoint.Decode(encoded(t, want), zone)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Created.Equal(want.Created) || !got.Current.Equal(want.Current) || !got.Stored.Equal(want.Stored) || got.Sequence != want.Sequence || !slices.EqualFunc(got.Before, want.Before, time.Time.Equal) {
		t.Errorf("%+v, want %+v", got, want)
	}
	restored := registry.Restore(got.Facts, got.Sequence).View()
	if !bytes.Equal(restored.AppendCanonical(nil), v.AppendCanonical(nil)) {
		t.Error("the View that is restored is another one")
	}
}

// seal gives a content that was changed its right checksum.
func seal(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(bytes.Clone(content), sum[:]...)
}

func TestWhatIsNoCheckpointIsRefused(t *testing.T) {
	good := encoded(t, of(world(t, 50)))
	content := good[:len(good)-sha256.Size]
	changed := func(change func([]byte) []byte) []byte { return change(bytes.Clone(content)) }
	for name, c := range map[string]struct {
		file []byte
		want error
		says string
	}{
		"empty":          {nil, checkpoint.ErrDamaged, "empty"},
		"short":          {good[:20], checkpoint.ErrDamaged, "only 20 bytes"},
		"something else": {bytes.Repeat([]byte("zone file\n"), 100), checkpoint.ErrDamaged, "does not begin"},
		"torn":           {good[:len(good)/2], checkpoint.ErrDamaged, "checksum"},
		"one byte less":  {good[:len(good)-1], checkpoint.ErrDamaged, "checksum"},
		"a bit changed":  {append(changed(func(b []byte) []byte { b[len(b)/2] ^= 4; return b }), good[len(content):]...), checkpoint.ErrDamaged, "checksum"},
		"a later version": {seal(changed(func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[8:], checkpoint.Version+1)
			return b
		})), checkpoint.ErrVersion, "version 2"},
		"a huge header": {seal(changed(func(b []byte) []byte { binary.BigEndian.PutUint32(b[10:], 1<<31); return b })), checkpoint.ErrDamaged, "header"},
		"more facts than there are": {seal(changed(func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"count":57}`), []byte(`"count":99}`), 1)
		})), checkpoint.ErrDamaged, "fact 58 of 99"},
		"fewer facts than there are": {seal(changed(func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"count":57}`), []byte(`"count":11}`), 1)
		})), checkpoint.ErrDamaged, "something follows"},
		"facts beyond its sequence": {seal(changed(func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"sequence":57,`), []byte(`"sequence":12,`), 1)
		})), checkpoint.ErrDamaged, "beyond"},
	} {
		_, err := checkpoint.Decode(c.file, zone)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := checkpoint.Decode(good, "other.internal."); !errors.Is(err, checkpoint.ErrZone) || !strings.Contains(err.Error(), "checkpoint.path") {
		t.Errorf("another zone: %v", err)
	}
}

// A small file must not become a large memory.
func TestAFileThatInflatesIsBounded(t *testing.T) {
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	record := binary.AppendUvarint(binary.AppendVarint(binary.AppendUvarint(nil, 1), 0), registry.MaxBody+1)
	w.Write(append(record, make([]byte, 64<<20)...)) //nolint:errcheck // a bytes.Buffer takes all
	w.Close()                                        //nolint:errcheck
	head := []byte(`{"zone":"mesh.internal.","sequence":9,"count":1}`)
	file := append([]byte("SEAMARK\x00"), 0, checkpoint.Version)
	file = append(binary.BigEndian.AppendUint32(file, uint32(len(head))), head...)
	file = seal(append(file, packed.Bytes()...))
	if len(file) > 100_000 {
		t.Fatalf("the file has %d bytes", len(file))
	}
	if _, err := checkpoint.Decode(file, zone); !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), "its event has") {
		t.Errorf("%v", err)
	}
}

func TestTheNewestThatCanBeReadIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	write := func(f *checkpoint.File, services int) {
		t.Helper()
		if _, err := f.Write(of(world(t, services))); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (services int, fault, err error) {
		c, fault, err := checkpoint.Open(path, zone).Read()
		return len(c.Facts) - 7, fault, err
	}
	if _, _, err := read(); !errors.Is(err, checkpoint.ErrNone) {
		t.Fatalf("with no file: %v", err)
	}
	f := checkpoint.Open(path, zone)
	write(f, 10)
	write(f, 20)
	if n, fault, err := read(); n != 20 || fault != nil || err != nil {
		t.Fatalf("%d services, %v, %v", n, fault, err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"empty": {}, "torn": good[:len(good)/3], "garbage": []byte("garbage")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, fault, err := read(); n != 10 || err != nil || !errors.Is(fault, checkpoint.ErrDamaged) {
			t.Errorf("%s: %d services, %v, %v; want those of the one before, and why", name, n, fault, err)
		}
	}
	// A crash between the two renames.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if n, fault, err := read(); n != 10 || err != nil || !errors.Is(fault, checkpoint.ErrNone) {
		t.Errorf("%d services, %v, %v", n, fault, err)
	}
	// What is damaged does not take the place of the one before it.
	if err := os.WriteFile(path, good[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	f = checkpoint.Open(path, zone)
	if _, _, err := f.Read(); err != nil {
		t.Fatal(err)
	}
	write(f, 30)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, _, err := read(); n != 10 || err != nil {
		t.Errorf("%d services, %v: a damaged file has become the one before", n, err)
	}
	if err := os.WriteFile(path+".1", []byte("too"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(); !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), "checkpoint.1") {
		t.Errorf("both damaged: %v", err)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(); err == nil {
		t.Error("a directory is read")
	}
}

func TestWhatCanNotBeWrittenLeavesWhatStands(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "checkpoint")
	f := checkpoint.Open(path, zone)
	if _, err := f.Write(of(world(t, 10))); err != nil {
		t.Fatal(err)
	}
	broken := of(world(t, 20))
	broken.Facts[15].Event = nil // an error in the middle, as a full disk is
	if _, err := f.Write(broken); err == nil {
		t.Fatal("it was written")
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the draft is left: %v", err)
	}
	if c, fault, err := f.Read(); len(c.Facts) != 17 || fault != nil || err != nil {
		t.Errorf("%d facts, %v, %v", len(c.Facts), fault, err)
	}
	if err := os.Mkdir(path+".tmp", 0o700); err != nil { // no draft can be made, whoever runs this
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path+".tmp", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(of(world(t, 20))); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if _, err := checkpoint.Open(filepath.Join(directory, "missing", "checkpoint"), zone).Write(of(world(t, 1))); err == nil {
		t.Error("written to a directory that is not there")
	}
}

// FuzzDecode gives what follows the head a right checksum, so that the decoder behind
// it is reached.
func FuzzDecode(f *testing.F) {
	good := encoded(f, of(world(f, 3)))
	f.Add(good[14:len(good)-sha256.Size], true)
	f.Add(good, false)
	f.Fuzz(func(t *testing.T, content []byte, sealed bool) {
		if sealed {
			head := append([]byte("SEAMARK\x00"), 0, checkpoint.Version, 0, 0, 0, 0)
			length := bytes.IndexByte(content, '}') + 1
			binary.BigEndian.PutUint32(head[10:], uint32(length))
			content = seal(append(head, content...))
		}
		c, err := checkpoint.Decode(content, zone)
		if err != nil {
			if len(c.Facts) > 0 {
				t.Fatal("facts and an error")
			}
			return
		}
		registry.Restore(c.Facts, c.Sequence).View().AppendCanonical(nil)
	})
}

func BenchmarkCheckpoint(b *testing.B) {
	v := world(b, 100_000)
	c := of(v)
	path := filepath.Join(b.TempDir(), "checkpoint")
	f := checkpoint.Open(path, zone)
	b.Run("facts", func(b *testing.B) {
		for b.Loop() {
			runtime.KeepAlive(v.Facts())
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			size, err := f.Write(c)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(size), "B/file")
		}
	})
	b.Run("read", func(b *testing.B) {
		if _, err := f.Write(c); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for b.Loop() {
			if _, _, err := f.Read(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			registry.Restore(c.Facts, c.Sequence).View()
		}
	})
}
