package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func instance(change func(*registry.Instance)) registry.Instance {
	i := registry.Instance{ID: "x", Address: "10.0.0.9", Port: 80, Weight: 1, Health: registry.Passing}
	if change != nil {
		change(&i)
	}
	return i
}

func pairs(n int) map[string]string {
	m := map[string]string{}
	for k := range n {
		m[fmt.Sprintf("key-%03d", k)] = "v"
	}
	return m
}

// One hostile instance is refused, or loses what is hostile; the healthy one beside
// it stands.
func TestCleanServiceRefusesByReason(t *testing.T) {
	t.Parallel()
	type test struct {
		change func(*registry.Instance)
		reason string // of the refusal; "" for none
		stands bool   // the instance, perhaps without what is wrong with it
	}
	tests := map[string]test{
		"sound":                     {nil, "", true},
		"any address is fine":       {func(i *registry.Instance) { i.Address = "127.0.0.1" }, "", true},
		"a host name":               {func(i *registry.Instance) { i.Address = "db.example" }, "", true},
		"an unspecified address":    {func(i *registry.Instance) { i.Address = "0.0.0.0" }, "", true}, // information only
		"port 0":                    {func(i *registry.Instance) { i.Port = 0 }, "", true},
		"port 65535":                {func(i *registry.Instance) { i.Port = 65535 }, "", true},
		"weight 0":                  {func(i *registry.Instance) { i.Weight = 0 }, "", true},
		"unknown health":            {func(i *registry.Instance) { i.Health = registry.Unknown }, "", true},
		"empty metadata":            {func(i *registry.Instance) { i.Meta = map[string]string{} }, "", true},
		"64 pairs":                  {func(i *registry.Instance) { i.Meta = pairs(64) }, "", true},
		"no id":                     {func(i *registry.Instance) { i.ID = "" }, "instance-id", false},
		"an id of 513 bytes":        {func(i *registry.Instance) { i.ID = strings.Repeat("x", 513) }, "instance-id", false},
		"an id with a line":         {func(i *registry.Instance) { i.ID = "x\ny" }, "instance-id", false},
		"an id with an escape":      {func(i *registry.Instance) { i.ID = "x\x1b[2J" }, "instance-id", false},
		"an id with a C1 escape":    {func(i *registry.Instance) { i.ID = "x\u009b2J" }, "instance-id", false},
		"an id that turns around":   {func(i *registry.Instance) { i.ID = "x\u202ey" }, "instance-id", false},
		"an id that is no UTF-8":    {func(i *registry.Instance) { i.ID = "x\xff" }, "instance-id", false},
		"no address":                {func(i *registry.Instance) { i.Address = "" }, "instance-address", false},
		"an address with a space":   {func(i *registry.Instance) { i.Address = "10.0.0.1 " }, "instance-address", false},
		"an address with a slash":   {func(i *registry.Instance) { i.Address = "10.0.0.0/8" }, "instance-address", false},
		"an address of 256 bytes":   {func(i *registry.Instance) { i.Address = strings.Repeat("x", 256) }, "instance-address", false},
		"port -1":                   {func(i *registry.Instance) { i.Port = -1 }, "instance-port", false},
		"port 65536":                {func(i *registry.Instance) { i.Port = 65536 }, "instance-port", false},
		"weight -1":                 {func(i *registry.Instance) { i.Weight = -1 }, "instance-weight", false},
		"weight 65536":              {func(i *registry.Instance) { i.Weight = 65536 }, "instance-weight", false},
		"no health":                 {func(i *registry.Instance) { i.Health = "" }, "health", false},
		"an unknown word":           {func(i *registry.Instance) { i.Health = "UP" }, "health", false},
		"a version of 129 bytes":    {func(i *registry.Instance) { i.Version = strings.Repeat("1", 129) }, "instance-version", false},
		"a version with a control":  {func(i *registry.Instance) { i.Version = "1\x00" }, "instance-version", false},
		"65 pairs":                  {func(i *registry.Instance) { i.Meta = pairs(65) }, "metadata-too-many", true},
		"a value of 64 KiB":         {func(i *registry.Instance) { i.Meta = map[string]string{"k": strings.Repeat("x", 65_536)} }, "metadata-too-large", true},
		"a key of 129 bytes":        {func(i *registry.Instance) { i.Meta = map[string]string{strings.Repeat("x", 129): "v"} }, "metadata-too-large", true},
		"an empty key":              {func(i *registry.Instance) { i.Meta = map[string]string{"": "v"} }, "metadata-too-large", true},
		"a value that is no UTF-8":  {func(i *registry.Instance) { i.Meta = map[string]string{"k": "\xff"} }, "metadata-not-utf8", true},
		"the other instance's id":   {func(i *registry.Instance) { i.ID, i.Address = "a", "10.0.0.0" }, "instance-duplicate", true},
		"a copy of the other":       {func(i *registry.Instance) { *i = shared[0] }, "instance-duplicate", true},
		"ten thousand long values":  {func(i *registry.Instance) { i.Meta = longPairs(10_000) }, "metadata-too-large", true},
		"a pair that must be among": {func(i *registry.Instance) { i.Meta = map[string]string{"k": "v", "": "x"} }, "metadata-too-large", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostile := instance(tt.change)
			given := []registry.Instance{hostile, shared[0]}
			service, refused, ok := registry.CleanService("", "api", given)
			if !ok {
				t.Fatal("the whole service is refused")
			}
			if service.Serving() < 1 || !slices.ContainsFunc(service.Instances, func(i registry.Instance) bool { return i.ID == "a" }) {
				t.Errorf("the healthy instance is not among %+v", service.Instances)
			}
			if stands := slices.ContainsFunc(service.Instances, func(i registry.Instance) bool { return i.ID == hostile.ID }); stands != tt.stands {
				t.Errorf("the instance stands: %v, want %v", stands, tt.stands)
			}
			if tt.reason == "" && len(refused) > 0 || len(refused) > 4 {
				t.Errorf("%d refusals: %v", len(refused), refused)
			}
			if tt.reason != "" && len(refused) == 0 {
				t.Fatalf("nothing is refused, want %q", tt.reason)
			}
			for _, r := range refused {
				mustRefuse(t, r, tt.reason)
			}
			acceptedByDecode(t, service)
		})
	}
}

func longPairs(n int) map[string]string {
	m := map[string]string{}
	for k := range n {
		m[fmt.Sprint("k", k)] = strings.Repeat("x", 600)
	}
	return m
}

// acceptedByDecode holds what the door lets in to what readers let in.
func acceptedByDecode(t rapid.TB, s registry.Service) {
	t.Helper()
	state := registry.NewServiceState(s.Key, &s)
	text, err := registry.Encode(&registry.Event{Schema: registry.Schema, Kind: registry.KindService, Writer: "amber", Service: &state})
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	event, err := registry.Decode(text)
	if err != nil {
		t.Fatalf("readers refuse what CleanService accepts: %v", err)
	}
	if got := (registry.Service{Key: s.Key, Instances: event.Service.Instances}); !got.Equal(s) || event.Service.Digest() != state.Digest() {
		t.Fatalf("readers see %+v, the agent %+v", got, s)
	}
}

// Whatever a registry says and in whatever order: readers accept what the door
// lets in, and it does not depend on the order.
func TestCleanServiceIsTheSameForAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.SliceOfN(rapid.OneOf(instances(), hostileInstances()), 0, 8).Draw(t, "instances")
		untouched := slices.Clone(given)
		service, refused, ok := registry.CleanService("", "api", given)
		if !ok {
			t.Fatal("refused whole")
		}
		for _, r := range refused {
			checkReason(t, r)
		}
		for n, i := range service.Instances {
			if n > 0 && service.Instances[n-1].ID >= i.ID {
				t.Fatalf("%q stands after %q", i.ID, service.Instances[n-1].ID)
			}
		}
		if !slices.EqualFunc(given, untouched, registry.Instance.Equal) {
			t.Fatal("the given slice has changed")
		}
		acceptedByDecode(t, service)
		again, _, _ := registry.CleanService("", "api", rapid.Permutation(given).Draw(t, "another order"))
		if !again.Equal(service) {
			t.Fatalf("in another order it is %+v, not %+v", again, service)
		}
	})
}

// Two instances with one id that a registry lists now in one order, now in the
// other, must not look like a change each time.
func TestWhichDuplicateStandsDoesNotDependOnTheOrder(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*registry.Instance){
		"address": func(i *registry.Instance) { i.Address = "10.0.0.8" },
		"port":    func(i *registry.Instance) { i.Port = 81 },
		"weight":  func(i *registry.Instance) { i.Weight = 2 },
		"health":  func(i *registry.Instance) { i.Health = registry.Warning },
		"version": func(i *registry.Instance) { i.Version = "2" },
		"meta":    func(i *registry.Instance) { i.Meta = map[string]string{"k": "v"} },
	} {
		a, b := instance(nil), instance(change)
		one, _, _ := registry.CleanService("", "api", []registry.Instance{a, b})
		other, _, _ := registry.CleanService("", "api", []registry.Instance{b, a})
		if !one.Equal(other) {
			t.Errorf("%s: %+v stands in one order, %+v in the other", name, one.Instances, other.Instances)
		}
	}
}

func checkReason(t *rapid.T, r *registry.Refusal) {
	if !slices.Contains(reasons, r.Reason) || len(r.Detail) > 1024 {
		t.Fatalf("refusal %+v has an unknown reason or %d bytes", r, len(r.Detail))
	}
}

func hostileInstances() *rapid.Generator[registry.Instance] {
	return rapid.Custom(func(t *rapid.T) registry.Instance {
		return registry.Instance{
			ID: rapid.String().Draw(t, "id"), Address: rapid.String().Draw(t, "address"), Version: rapid.String().Draw(t, "version"),
			Port: rapid.IntRange(-2, 65_540).Draw(t, "port"), Weight: rapid.IntRange(-2, 65_540).Draw(t, "weight"),
			Health: registry.Health(rapid.SampledFrom([]string{"passing", "critical", "", "x"}).Draw(t, "health")),
			Meta:   rapid.MapOfN(rapid.String(), rapid.StringN(0, 600, 600), 0, 3).Draw(t, "meta"),
		}
	})
}

func TestCleanServiceBoundsTheInstances(t *testing.T) {
	t.Parallel()
	many := make([]registry.Instance, registry.MaxInstances+5)
	for n := range many {
		many[n] = instance(func(i *registry.Instance) { i.ID = fmt.Sprintf("%06d", len(many)-n) })
	}
	service, refused, ok := registry.CleanService("", "api", many)
	if !ok || len(service.Instances) != registry.MaxInstances || service.Instances[0].ID != "000001" {
		t.Errorf("%d instances stand, the first is %q", len(service.Instances), service.Instances[0].ID)
	}
	if len(refused) != 1 || refused[0].Reason != "instances-too-many" {
		t.Errorf("refused %v", refused)
	}
}

func TestParseHealth(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]registry.Health{
		"": registry.Passing, "passing": registry.Passing, "warning": registry.Warning, "critical": registry.Critical, "unknown": registry.Unknown,
	} {
		if got, err := registry.ParseHealth(text); err != nil || got != want {
			t.Errorf("ParseHealth(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	for _, bad := range []string{"Passing", "up", " passing", strings.Repeat("x", 10_000)} {
		_, err := registry.ParseHealth(bad)
		mustRefuse(t, err, "health")
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	for health, want := range map[registry.Health]bool{registry.Passing: true, registry.Warning: true, registry.Critical: false, registry.Unknown: false} {
		if got := instance(func(i *registry.Instance) { i.Health = health }).Serves(); got != want {
			t.Errorf("an instance that is %s serves: %v, want %v", health, got, want)
		}
		if instance(func(i *registry.Instance) { i.Health, i.Weight = health, 0 }).Serves() {
			t.Errorf("an instance of weight 0 that is %s serves", health)
		}
	}
}
