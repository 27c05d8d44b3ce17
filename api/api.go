package api

import (
	"maps"
	"net/http"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Views hands out the current View. View never blocks and never returns nil.
type Views interface {
	View() *registry.View
}

// Leases tells what the agents last said of themselves. Any number of goroutines
// may ask.
type Leases interface {
	// Lease returns a cluster's lease and how long ago it was renewed, by the
	// reader's own clock; ok is false when none was ever seen.
	Lease(registry.ClusterID) (l registry.Lease, age time.Duration, ok bool)
}

// Resolution is what DNS answers, and why.
type Resolution struct {
	RCode   string   `json:"rcode"`
	Answers []string `json:"answers"` // presentation format
	Why     []Why    `json:"why"`     // every cluster, sorted
}

// Why tells for one cluster whether it is among the answers.
type Why struct {
	Cluster registry.ClusterID `json:"cluster"`
	In      bool               `json:"in"`
	Reason  string             `json:"reason"`
}

// Observer is what is known of the observer, which decides which clusters are up.
type Observer struct {
	Leading  bool   `json:"leading"`  // this replica is it
	Holder   string `json:"holder"`   // who is; "" when nobody was heard of
	Epoch    uint64 `json:"epoch"`    // of its latest message; 0 when there is none
	Revision uint64 `json:"revision"` // likewise
	Suspects bool   `json:"suspects"` // this replica is it, and withdraws nothing: most clusters would turn at once
	Blind    string `json:"blind"`    // this replica is it, and why it can't judge; "" when it can
}

// Checkpoint is what is kept on disk, to start from while NATS is down.
type Checkpoint struct {
	Age      time.Duration // since it was written; it grows while nothing changes
	Sequence uint64        // of the last message that it knows of
}

// Archive is the history that this replica keeps for longer than the stream does.
type Archive struct {
	Sequence uint64    `json:"sequence"`        // of the latest message in it; 0: none
	Oldest   time.Time `json:"oldest,omitzero"` // when its oldest message was stored
	Latest   time.Time `json:"latest,omitzero"` // likewise
	Behind   uint64    `json:"behind"`          // messages that the stream holds and it does not yet
	Bytes    int64     `json:"bytes"`           // length of all its files
	Gaps     int       `json:"gaps"`            // ranges that the stream did not hold any more; at most 100
	Error    string    `json:"error"`           // why it can't go on; "" when it does
}

// Config holds what the API shows. All fields but Zone, Checkpoint and Archive are needed.
type Config struct {
	Views  Views
	Leases Leases
	// Observer tells who decides of the clusters. Any number of goroutines may ask.
	Observer func() Observer
	// Checkpoint tells what is kept; ok is false when nothing is. Any number of goroutines
	// may call it. It is nil where nothing is to be kept.
	Checkpoint func() (c Checkpoint, ok bool)
	// Archive tells what is archived; ok is false when nothing is to be. Any number of
	// goroutines may call it. It may be nil.
	Archive func() (a Archive, ok bool)
	// Resolve answers a name and a type from a View as DNS would. Its error is a
	// sentence about what is wrong with the name or the type.
	Resolve func(v *registry.View, name, qtype string) (Resolution, error)
	Version string // of this program
	Zone    string // shown while no zone record stands on the stream
	Audit   *Audit // nil: questions about the history are 404
}

// New returns the handler for every path below /v1/; other paths are 404. It may
// be called by any number of goroutines.
func New(config Config) http.Handler {
	h := &handler{config, newAuditor(config.Audit)}
	mux := http.NewServeMux()
	routes := h.auditor.routes()
	maps.Copy(routes, map[string]func(http.ResponseWriter, *http.Request){
		"/v1/status":                      h.status,
		"/v1/clusters":                    h.clusters,
		"/v1/services":                    h.services,
		"/v1/services/{namespace}/{name}": h.service,
		"/v1/resolve":                     h.resolve,
	})
	for path, serve := range routes {
		mux.HandleFunc("GET "+path, serve) // and HEAD
		mux.HandleFunc(path, notAllowed)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "there is nothing at this path; see /v1/status, /v1/clusters, /v1/services, /v1/resolve")
	})
	return mux
}

type handler struct {
	config  Config
	auditor *auditor
}

func notAllowed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	writeProblem(w, http.StatusMethodNotAllowed, "this interface only reads; changes are published by the seamark command")
}

// synced returns the current View, or says why there is nothing to show yet.
func (h *handler) synced(w http.ResponseWriter) (v *registry.View, ok bool) {
	v = h.config.Views.View()
	if !v.Synced() {
		w.Header().Set("Retry-After", "1")
		writeProblem(w, http.StatusServiceUnavailable, "the registry is not synced yet")
		return nil, false
	}
	return v, true
}

// status is the answer of /v1/status.
type status struct {
	Ready          bool   `json:"ready"` // synced, and the zone is known
	Zone           string `json:"zone"`
	Version        string `json:"version"`
	Sequence       uint64 `json:"sequence"`
	Serial         uint32 `json:"serial"`
	ClustersSynced int    `json:"clusters_synced"` // whose agent has published everything in its present epoch
	ClustersTotal  int    `json:"clusters_total"`

	Observer   Observer    `json:"observer"`
	CutOff     *cutOff     `json:"cut_off"`    // null: what is answered is current
	Checkpoint *checkpoint `json:"checkpoint"` // null: none is kept
	Archive    *Archive    `json:"archive"`    // null: none is kept
}

// cutOff says since when it is not known whether the answers still hold.
type cutOff struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

type checkpoint struct {
	Age      float64 `json:"age_seconds"`
	Sequence uint64  `json:"sequence"`
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r) {
		return
	}
	v := h.config.Views.View()
	s := status{
		Ready: v.Synced() && v.Zone() != nil, Zone: h.config.Zone, Version: h.config.Version,
		Sequence: v.Sequence(), Serial: v.Serial(), Observer: h.config.Observer(),
	}
	if zone := v.Zone(); zone != nil {
		s.Zone = zone.Name
	}
	if cut, stale := v.Cut(); stale {
		s.CutOff = &cutOff{Since: cut.Since.UTC(), Reason: cut.Reason}
	}
	if h.config.Checkpoint != nil {
		if c, kept := h.config.Checkpoint(); kept {
			s.Checkpoint = &checkpoint{Age: c.Age.Seconds(), Sequence: c.Sequence}
		}
	}
	if h.config.Archive != nil {
		if a, kept := h.config.Archive(); kept {
			s.Archive = &a
		}
	}
	for _, c := range v.Clusters() {
		s.ClustersTotal++
		if c.Snapshot != nil && c.SnapshotAt.Epoch == c.Epoch {
			s.ClustersSynced++
		}
	}
	writeJSON(w, s)
}

func (h *handler) resolve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("at") {
		h.auditor.resolve(w, r)
		return
	}
	if !checkQuery(w, r, "name", "type", "at") {
		return
	}
	query := r.URL.Query()
	name := query.Get("name")
	if name == "" {
		writeProblem(w, http.StatusBadRequest, "the parameter name is missing: for example /v1/resolve?name=web.shop.svc.mesh.internal&type=A")
		return
	}
	answer, err := h.config.Resolve(h.config.Views.View(), name, query.Get("type"))
	if err != nil {
		writeProblem(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, answer)
}
