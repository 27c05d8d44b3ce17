package nacos

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
)

func TestWeightOf(t *testing.T) {
	for _, tt := range []struct {
		weight float64
		want   int
		ok     bool
	}{
		{1, 1, true},
		{0, 0, true},
		{0.0001, 1, true},
		{0.5, 1, true},
		{0.99, 1, true},
		{1.4, 1, true},
		{1.5, 2, true},
		{100, 100, true},
		{10000, 10000, true},
		{1e300, registry.MaxWeight, true},
		{math.Inf(1), registry.MaxWeight, true},
		{-3, 0, true},
		{math.NaN(), 0, false},
	} {
		if got, ok := weightOf(tt.weight); got != tt.want || ok != tt.ok {
			t.Errorf("weightOf(%v) = %d, %v, want %d, %v", tt.weight, got, ok, tt.want, tt.ok)
		}
	}
}

func TestMapping(t *testing.T) {
	long := strings.Repeat("1", registry.MaxVersion+1)
	tests := map[string]struct {
		service string // ServiceInfo
		want    []registry.Instance
		refused []string // reasons
	}{
		"healthy and ill": {
			service: `{"hosts":[{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":1.0,"healthy":true,"enabled":true},
				{"instanceId":"b","ip":"192.0.2.2","port":80,"weight":2.0,"healthy":false,"enabled":true}]}`,
			want: []registry.Instance{
				{ID: "a", Address: "192.0.2.1", Port: 80, Weight: 1, Health: registry.Passing},
				{ID: "b", Address: "192.0.2.2", Port: 80, Weight: 2, Health: registry.Critical},
			},
		},
		"protected": {
			service: `{"reachProtectionThreshold":true,"hosts":[{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":1.0,"healthy":true,"enabled":true}]}`,
			want:    []registry.Instance{{ID: "a", Address: "192.0.2.1", Port: 80, Weight: 1, Health: registry.Unknown}},
		},
		"switched off": {
			service: `{"hosts":[{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":1.0,"healthy":true,"enabled":false}]}`,
			want:    []registry.Instance{},
		},
		"weight 0 stays and takes no traffic": {
			service: `{"hosts":[{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":0.0,"healthy":true,"enabled":true}]}`,
			want:    []registry.Instance{{ID: "a", Address: "192.0.2.1", Port: 80, Health: registry.Passing}},
		},
		"no id": {
			service: `{"hosts":[{"ip":"192.0.2.1","port":80,"weight":1.0,"healthy":true,"enabled":true,"clusterName":"east","serviceName":"g@@s"}]}`,
			want:    []registry.Instance{{ID: "192.0.2.1#80#east#g@@s", Address: "192.0.2.1", Port: 80, Weight: 1, Health: registry.Passing}},
		},
		"version leaves the metadata": {
			service: `{"hosts":[{"instanceId":"a","ip":"h.example","port":80,"weight":1.0,"healthy":true,"enabled":true,"metadata":{"version":"2.1","team":"blue"}}]}`,
			want:    []registry.Instance{{ID: "a", Address: "h.example", Port: 80, Weight: 1, Health: registry.Passing, Version: "2.1", Meta: map[string]string{"team": "blue"}}},
		},
		"a version that is none stays metadata": {
			service: `{"hosts":[{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":1.0,"healthy":true,"enabled":true,"metadata":{"version":"` + long + `"}},
				{"instanceId":"b","ip":"192.0.2.1","port":81,"weight":1.0,"healthy":true,"enabled":true,"metadata":{"version":""}}]}`,
			want: []registry.Instance{
				{ID: "a", Address: "192.0.2.1", Port: 80, Weight: 1, Health: registry.Passing, Meta: map[string]string{"version": long}},
				{ID: "b", Address: "192.0.2.1", Port: 81, Weight: 1, Health: registry.Passing, Meta: map[string]string{"version": ""}},
			},
		},
		"hostile beside healthy": {
			service: `{"hosts":[7,{"instanceId":"m","metadata":["x"]},{"instanceId":"n","ip":"192.0.2.9","port":1,"weight":"NaN","healthy":true,"enabled":true},
				{"instanceId":"p","ip":"192.0.2.9","port":-1,"weight":1,"healthy":true,"enabled":true},
				{"instanceId":"q","ip":"192.0.2.9","port":99999999999999,"weight":1,"healthy":true,"enabled":true},
				{"instanceId":"r","ip":"","port":1,"weight":1,"healthy":true,"enabled":true},
				{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":1.0,"healthy":true,"enabled":true},
				{"instanceId":"a","ip":"192.0.2.2","port":80,"weight":1.0,"healthy":true,"enabled":true}]}`,
			want:    []registry.Instance{{ID: "a", Address: "192.0.2.1", Port: 80, Weight: 1, Health: registry.Passing}},
			refused: []string{"instance-malformed", "instance-malformed", "instance-weight", "instance-port", "instance-port", "instance-address", "instance-duplicate"},
		},
	}
	o := origin{&unit{as: "default", group: "g"}, "s"}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var r reading
			if err := json.Unmarshal([]byte(tt.service), &r); err != nil {
				t.Fatal(err)
			}
			got := o.mapped(r)
			if diff := cmp.Diff(tt.want, got.service.Instances); diff != "" {
				t.Errorf("instances differ (-want +got):\n%s", diff)
			}
			var reasons []string
			for _, refusal := range got.refused {
				reasons = append(reasons, refusal.Reason)
			}
			if diff := cmp.Diff(tt.refused, reasons); diff != "" {
				t.Errorf("refusals differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswered(t *testing.T) {
	host := `{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":1.0,"healthy":true,"enabled":true}`
	tests := map[string]struct {
		body             string
		hosts            int
		protected, vague bool
		fails            bool
	}{
		"v1":                {body: `{"hosts":[` + host + `],"reachProtectionThreshold":true}`, hosts: 1, protected: true},
		"v1 without a word": {body: `{"hosts":[` + host + `]}`, hosts: 1, vague: true},
		"v1 empty":          {body: `{"hosts":[],"reachProtectionThreshold":false}`},
		"v2":                {body: `{"code":0,"data":{"hosts":[` + host + `],"reachProtectionThreshold":false}}`, hosts: 1},
		"v3":                {body: `{"code":0,"data":[` + host + `]}`, hosts: 1, vague: true},
		"v3 empty":          {body: `{"code":0,"data":[]}`, vague: true},
		"v3 says no":        {body: `{"code":30000,"message":"server error","data":[]}`, fails: true},
		"no list":           {body: `{}`, fails: true},
		"null":              {body: `null`, fails: true},
		"null list":         {body: `{"hosts":null}`, fails: true},
		"null data":         {body: `{"code":0,"data":null}`, fails: true},
		"text":              {body: `caused: oops`, fails: true},
		"cut short":         {body: `{"hosts":[` + host, fails: true},
		"a list of lists":   {body: `{"hosts":{"a":1}}`, fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := answered([]byte(tt.body))
			if (err != nil) != tt.fails {
				t.Fatalf("answered() error = %v", err)
			}
			if err == nil && (len(r.hosts) != tt.hosts || r.protected != tt.protected || r.vague != tt.vague) {
				t.Errorf("answered() = %+v", r)
			}
		})
	}
}

// FuzzAnswered holds the decoder to: no panic, and what it lets through passes the
// door or is refused.
func FuzzAnswered(f *testing.F) {
	f.Add([]byte(`{"hosts":[{"instanceId":"a","ip":"192.0.2.1","port":80,"weight":"NaN","metadata":{"version":"1"}}]}`))
	f.Add([]byte(`{"code":0,"data":[{"weight":1e999}]}`))
	f.Add([]byte(`{"code":0,"data":{"hosts":[null]}}`))
	o := origin{&unit{as: "default", group: "g"}, "s"}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := answered(body)
		if err != nil {
			return
		}
		is := o.mapped(r)
		again, refused, ok := registry.CleanService("default", "s", is.service.Instances)
		if !ok || len(refused) > 0 || !again.Equal(is.service) {
			t.Errorf("%q gives what the door refuses: %v", body, refused)
		}
	})
}
