package servers_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

func TestConsulKeepsItsCatalogWhenKilled(t *testing.T) {
	t.Parallel()
	server := servers.Consul(t, servers.ConsulConfig{ACLs: true})
	client := consulClient(t, server)
	err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "web-1", Name: "web", Port: 8080})
	if err != nil {
		t.Fatal(err)
	}

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if leader, err := client.Status().Leader(); err == nil {
		t.Errorf("a killed server says that %q leads", leader)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	entries, _, err := client.Health().Service("web", "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Service.Port != 8080 {
		t.Errorf("after a kill and a start, web has the entries %+v, want the one on port 8080", entries)
	}
}

func TestConsulSpeaksHTTPSAndGuardsItsCatalog(t *testing.T) {
	t.Parallel()
	server := consul.For(t)
	pem, err := os.ReadFile(server.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()

	for token, wantNodes := range map[string]int{"": 0, server.Token: 1} {
		config := &api.Config{Address: server.HTTPS, Token: token, HttpClient: &http.Client{Transport: transport}}
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		nodes, _, err := client.Catalog().Nodes(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes) != wantNodes {
			t.Errorf("with token %q the catalog shows %d nodes, want %d", token, len(nodes), wantNodes)
		}
	}
	response, err := (&http.Client{Transport: transport}).Get(server.HTTPS + "/v1/status/leader")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("HTTPS speaks %s, want HTTP/2", response.Proto)
	}
}

func TestConsulsRunSideBySide(t *testing.T) {
	t.Parallel()
	other := servers.Consul(t, servers.ConsulConfig{HCL: `datacenter = "far"`})
	server := consul.For(t)
	for _, tt := range []struct {
		server     *servers.ConsulServer
		datacenter string
	}{{server, "dc1"}, {other, "far"}} {
		self, err := consulClient(t, tt.server).Agent().Self()
		if err != nil {
			t.Fatal(err)
		}
		if got := self["Config"]["Datacenter"]; got != tt.datacenter {
			t.Errorf("%s is in datacenter %v, want %s", tt.server.HTTP, got, tt.datacenter)
		}
	}
}

// consulClient leaves no connection behind that a goroutine waits on.
func consulClient(t *testing.T, server *servers.ConsulServer) *api.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	client, err := api.NewClient(&api.Config{
		Address: server.HTTP, Token: server.Token, HttpClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
