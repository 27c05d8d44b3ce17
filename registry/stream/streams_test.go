package stream_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestStreamsAreCreatedOnce(t *testing.T) {
	c := streamtest.Connect(t, streamtest.Start(t))
	settings := stream.Settings{HistoryAge: time.Hour, HistoryBytes: 1 << 30}
	differences, err := c.CheckStreams(t.Context(), settings)
	if err != nil || len(differences) != 2 || !differences[0].Missing || !differences[1].Missing {
		t.Fatalf("nothing there: %v, %v", differences, err)
	}
	created, differences, err := c.CreateStreams(t.Context(), settings)
	if err != nil || !slices.Equal(created, []string{stream.EventsStream, stream.LeaseStream}) || len(differences) != 0 {
		t.Fatalf("created %v, differences %v, %v", created, differences, err)
	}
	created, differences, err = c.CreateStreams(t.Context(), settings)
	if err != nil || len(created) != 0 || len(differences) != 0 {
		t.Errorf("the second time: created %v, differences %v, %v", created, differences, err)
	}
}

func TestDifferencesAreReportedAndNeverChangedSilently(t *testing.T) {
	c := streamtest.Connect(t, streamtest.Start(t))
	js := streamtest.JetStream(t, c)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: stream.EventsStream, Subjects: []string{"mesh.v1.*.epoch"}, MaxAge: time.Hour, Duplicates: time.Minute, AllowRollup: true, Discard: jetstream.DiscardNew,
	}); err != nil {
		t.Fatal(err)
	}
	settings := stream.Settings{HistoryAge: 2 * time.Hour}
	created, differences, err := c.CreateStreams(t.Context(), settings)
	if err != nil || !slices.Equal(created, []string{stream.LeaseStream}) {
		t.Fatalf("created %v, %v", created, err)
	}
	got := map[string]stream.Difference{}
	for _, d := range differences {
		if d.Stream != stream.EventsStream || d.Missing || d.String() == "" {
			t.Errorf("difference %+v", d)
		}
		got[d.Field] = d
	}
	want := []string{"subjects", "max_age", "discard", "compression", "duplicate_window", "deny_delete", "deny_purge", "allow_rollup_hdrs", "allow_direct", "allow_atomic"}
	for _, field := range want {
		if _, ok := got[field]; !ok {
			t.Errorf("%s is not reported", field)
		}
	}
	if len(got) != len(want) {
		t.Errorf("reported: %v, want %v", differences, want)
	}
	if d := got["max_age"]; d.Have != "1h0m0s" || d.Want != "2h0m0s" {
		t.Errorf("max_age: %+v", d)
	}
	applied, err := c.ApplyStreams(t.Context(), settings)
	if err != nil || len(applied) != len(differences) {
		t.Fatalf("ApplyStreams() = %v, %v", applied, err)
	}
	if left, err := c.CheckStreams(t.Context(), settings); err != nil || len(left) != 0 {
		t.Errorf("after applying: %v, %v", left, err)
	}
	if applied, err := c.ApplyStreams(t.Context(), settings); err != nil || len(applied) != 0 {
		t.Errorf("applying again: %v, %v", applied, err)
	}
}

func TestEveryDifferenceOfTheLeaseStreamIsReported(t *testing.T) {
	c := streamtest.Connect(t, streamtest.Start(t))
	js := streamtest.JetStream(t, c)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: stream.LeaseStream, Subjects: []string{"mesh.v1.*.lease", "mesh.v1.*.probe.*"}, Storage: jetstream.MemoryStorage,
		MaxMsgsPerSubject: 1, MaxMsgSize: 128 << 10, AllowDirect: true, AllowMsgTTL: true, SubjectDeleteMarkerTTL: time.Second,
	}); err != nil {
		t.Fatal(err)
	}
	_, differences, err := c.CreateStreams(t.Context(), stream.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range differences {
		got = append(got, d.Field)
	}
	slices.Sort(got)
	if want := []string{"allow_msg_ttl", "allow_rollup_hdrs", "storage", "subject_delete_marker_ttl"}; !slices.Equal(got, want) {
		t.Errorf("reported: %v, want %v", differences, want)
	}
}

func TestReplicasAreCounted(t *testing.T) {
	c := streamtest.Connect(t, streamtest.Start(t))
	streamtest.Create(t, c, 1)
	differences, err := c.CheckStreams(t.Context(), stream.Settings{Replicas: 3, HistoryAge: 30 * 24 * time.Hour})
	if err != nil || len(differences) != 2 || differences[0].Field != "num_replicas" || differences[0].Want != "3" {
		t.Errorf("differences %v, %v", differences, err)
	}
	if _, _, err := c.CreateStreams(t.Context(), stream.Settings{Replicas: 3, HistoryAge: 30 * 24 * time.Hour}); err != nil {
		t.Errorf("streams that stand otherwise are no error: %v", err)
	}
}
