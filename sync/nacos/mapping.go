package nacos

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/seamark-mesh/seamark/registry"
)

// host is one instance as Nacos describes it, in a push or in the open API.
type host struct {
	ID       string            `json:"instanceId"`
	IP       string            `json:"ip"`
	Port     int64             `json:"port"`
	Weight   weight            `json:"weight"`
	Healthy  bool              `json:"healthy"`
	Enabled  bool              `json:"enabled"`
	Cluster  string            `json:"clusterName"`
	Service  string            `json:"serviceName"`
	Metadata map[string]string `json:"metadata"`
}

// weight reads also "NaN", which Nacos accepts at registration and then sends as
// a string.
type weight float64

// UnmarshalJSON takes a JSON number, or a string that says one.
func (w *weight) UnmarshalJSON(text []byte) error {
	if len(text) > 1 && text[0] == '"' {
		text = text[1 : len(text)-1]
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("weight: %w", err)
	}
	*w = weight(f)
	return nil
}

// reading is what Nacos says of one service at one moment.
type reading struct {
	hosts []host
	// malformed are instances that can't be decoded; the others stand.
	malformed []*registry.Refusal
	// protected: too few instances are healthy, and Nacos now calls the others
	// healthy too. What it says of health means nothing.
	protected bool
	// vague: the answer can't tell whether it is protected.
	vague bool
	// time is the server's clock in milliseconds; 0 when it did not say.
	time uint64
}

// UnmarshalJSON decodes Nacos's ServiceInfo, each instance by itself. An object
// without a list of instances is none.
func (r *reading) UnmarshalJSON(text []byte) error {
	var service struct {
		Hosts     *[]json.RawMessage `json:"hosts"`
		Protected *bool              `json:"reachProtectionThreshold"`
		Time      uint64             `json:"lastRefTime"`
	}
	if err := json.Unmarshal(text, &service); err != nil {
		return err
	}
	if service.Hosts == nil {
		return fmt.Errorf("no list of instances in %q", clip(string(text)))
	}
	*r = reading{time: service.Time, vague: service.Protected == nil}
	if service.Protected != nil {
		r.protected = *service.Protected
	}
	r.decode(*service.Hosts)
	return nil
}

func (r *reading) decode(hosts []json.RawMessage) {
	r.hosts = make([]host, 0, len(hosts))
	for _, text := range hosts {
		var h host
		if err := json.Unmarshal(text, &h); err != nil {
			r.malformed = append(r.malformed, &registry.Refusal{Reason: "instance-malformed", Detail: clip(fmt.Sprintf("instance %q can't be decoded: %v", clip(h.id()), err))})
			continue
		}
		r.hosts = append(r.hosts, h)
	}
}

// answered decodes an answer of the open API: the service itself (v1), the
// service in an envelope (v2), or only its instances in an envelope (v3).
func answered(body []byte) (r reading, err error) {
	var envelope struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return reading{}, fmt.Errorf("no list of instances: %w", err)
	}
	switch {
	case envelope.Code != 0 && envelope.Code != 200:
		return reading{}, fmt.Errorf("Nacos answers %d: %s", envelope.Code, clip(envelope.Message))
	case len(envelope.Data) == 0:
		err = json.Unmarshal(body, &r)
	case envelope.Data[0] == '[':
		var hosts []json.RawMessage
		if err = json.Unmarshal(envelope.Data, &hosts); err == nil {
			r.vague = true
			r.decode(hosts)
		}
	default:
		err = json.Unmarshal(envelope.Data, &r)
	}
	if err != nil {
		return reading{}, fmt.Errorf("no list of instances: %w", err)
	}
	return r, nil
}

// versionKey is the metadata that says an instance's version.
const versionKey = "version"

// instances maps the service's instances. Those that are switched off are left
// out, as Nacos leaves them out of its pushes. What can't be mapped is refused;
// bounds and duplicates are [registry.CleanService]'s business.
//
//	Nacos                      instance
//	instanceId                 id; ip#port#cluster#service where it is missing
//	healthy, protected         passing or critical; unknown while protected
//	weight 0 to 10000          see weightOf
//	metadata "version"         version; stays metadata where it can't be one
func (r reading) instances() (mapped []registry.Instance, refused []*registry.Refusal) {
	mapped, refused = make([]registry.Instance, 0, len(r.hosts)), slices.Clip(r.malformed)
	for n := range r.hosts {
		h := &r.hosts[n]
		if !h.Enabled {
			continue
		}
		w, ok := weightOf(float64(h.Weight))
		if !ok {
			refused = append(refused, &registry.Refusal{Reason: "instance-weight", Detail: fmt.Sprintf("instance %q: its weight %v is no number", clip(h.id()), float64(h.Weight))})
			continue
		}
		i := registry.Instance{ID: h.id(), Address: h.IP, Port: int(max(min(h.Port, 1<<20), -1)), Weight: w, Health: r.health(h), Meta: h.Metadata}
		if v, there := h.Metadata[versionKey]; there && validVersion(v) {
			i.Version, i.Meta = v, maps.Clone(h.Metadata)
			delete(i.Meta, versionKey)
		}
		mapped = append(mapped, i)
	}
	return mapped, refused
}

func (r reading) health(h *host) registry.Health {
	switch {
	case r.protected:
		return registry.Unknown
	case h.Healthy:
		return registry.Passing
	}
	return registry.Critical
}

// id is the instance's identity: Nacos's own, or what Nacos makes it of.
func (h *host) id() string {
	if h.ID != "" {
		return h.ID
	}
	return fmt.Sprintf("%s#%d#%s#%s", h.IP, h.Port, h.Cluster, h.Service)
}

// weightOf maps a Nacos weight (0 to 10000, usually 1.0) to a whole number: 0
// stays 0, anything between 0 and 1 becomes 1, and the rest is rounded. So the
// usual weight is the same as in other registries, and an instance that takes
// some traffic never becomes one that takes none; fractions below 1 are not told
// apart. ok is false for what is no number.
func weightOf(w float64) (weight int, ok bool) {
	switch {
	case math.IsNaN(w):
		return 0, false
	case w <= 0:
		return 0, true
	case w < 1:
		return 1, true
	}
	return int(math.Round(min(w, registry.MaxWeight))), true
}

// validVersion reports whether the door would let v through as a version; it
// would refuse the whole instance otherwise.
func validVersion(v string) bool {
	_, refused, _ := registry.CleanService("", versionKey, []registry.Instance{{ID: "-", Address: "-", Health: registry.Passing, Version: v}})
	return v != "" && len(refused) == 0
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
