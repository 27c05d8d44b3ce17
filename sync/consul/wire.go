package consul

import (
	"net/url"
	"strings"
)

// The JSON shapes of Consul's HTTP API, as far as they are used.

// wireNode is an element of /v1/catalog/nodes, and part of other replies.
type wireNode struct {
	Node            string
	Address         string
	TaggedAddresses map[string]string
	CreateIndex     uint64
	ModifyIndex     uint64
}

// wireService is the Service of /v1/health/service, and an element of /v1/catalog/node-services.
type wireService struct {
	ID              string
	Service         string
	Kind            string
	PeerName        string
	SocketPath      string
	Address         string
	Port            int
	Tags            []string
	Meta            map[string]string
	TaggedAddresses map[string]wireAddress
	Weights         *wireWeights
	ModifyIndex     uint64
}

type wireAddress struct {
	Address string
	Port    int
}

type wireWeights struct{ Passing, Warning int }

// wireCheck is an element of /v1/health/state, and of an entry's Checks.
type wireCheck struct {
	Node        string
	CheckID     string
	ServiceID   string
	Status      string
	ServiceName string
	ModifyIndex uint64
}

// wireEntry is an element of /v1/health/service.
type wireEntry struct {
	Node    *wireNode
	Service *wireService
	Checks  []wireCheck
}

// wireNodeServices is the reply of /v1/catalog/node-services, as far as hints
// need it. Node is nil where the node is not known.
type wireNodeServices struct {
	Node     *struct{ Node string }
	Services []wireNodeService
}

type wireNodeService struct {
	ID          string
	Service     string
	PeerName    string
	ModifyIndex uint64
}

// wireNames is the reply of /v1/catalog/services: names, with tags that nobody needs.
type wireNames map[string]ignored

type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// fold brings names to the form in which Consul compares them: "Web" and "web"
// are one service, and one node.
func fold(name string) string { return strings.ToLower(name) }

const (
	pathNodes    = "/v1/catalog/nodes"
	pathNames    = "/v1/catalog/services"
	pathCritical = "/v1/health/state/critical"
	pathWarning  = "/v1/health/state/warning"
)

func pathService(name string) string { return "/v1/health/service/" + url.PathEscape(name) }
func pathChecks(node string) string  { return "/v1/health/node/" + url.PathEscape(node) }
func pathNode(name string) string    { return "/v1/catalog/node-services/" + url.PathEscape(name) }
