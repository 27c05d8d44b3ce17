package e2e

import (
	"path/filepath"
	"testing"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// application is a program with Nacos's own SDK on a node of its own. What it
// registers is ephemeral: it lives as long as the SDK's connection, and the SDK
// registers it again when it has another one.
type application struct {
	naming_client.INamingClient
	node *door // shut: the node is gone
}

func newApplication(t *testing.T, server *servers.NacosServer) *application {
	t.Helper()
	dir, err := programs() // which outlives every test: the SDK has one log for all its clients
	if err != nil {
		t.Fatal(err)
	}
	logs := filepath.Join(dir, "nacos-sdk")
	a := &application{}
	a.node, _ = newDoor(t, server.Port, 1000) // gRPC listens there
	a.INamingClient, err = clients.NewNamingClient(vo.NacosClientParam{
		ClientConfig: constant.NewClientConfig(
			constant.WithLogDir(logs), constant.WithCacheDir(logs), constant.WithLogLevel("error"),
			constant.WithNotLoadCacheAtStart(true), constant.WithUpdateCacheWhenEmpty(true)),
		ServerConfigs: []constant.ServerConfig{*constant.NewServerConfig("127.0.0.1", uint64(a.node.port))},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.CloseClient)
	return a
}

func (a *application) register(t *testing.T, service string, i instance) {
	t.Helper()
	_, err := a.RegisterInstance(vo.RegisterInstanceParam{
		ServiceName: service, Ip: i.address, Port: uint64(i.port), Weight: 1, Enable: true, Healthy: true, Ephemeral: true,
		Metadata: map[string]string{"version": i.version},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (a *application) deregister(t *testing.T, service string, i instance) {
	t.Helper()
	_, err := a.DeregisterInstance(vo.DeregisterInstanceParam{ServiceName: service, Ip: i.address, Port: uint64(i.port), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
}

// testNacosNodeGone: with a node its connection goes, and with that all it had
// registered, and nothing else; with the connection it is back.
func testNacosNodeGone(t *testing.T, s *stage, c *staged) {
	r, _ := c.registry.(*nacosRegistry)
	gone, stays := newApplication(t, r.server), newApplication(t, r.server)
	one, two := instance{address: "10.3.1.1", port: 80, version: "1.0.0"}, instance{address: "10.3.1.2", port: 80, version: "1.0.0"}
	gone.register(t, "ephemeral", one)
	s.expect(t, c, "ephemeral", state{1, 1}, "+10.3.1.1:80 1/1")
	gone.register(t, "ephemeral-too", one)
	s.expect(t, c, "ephemeral-too", state{1, 1}, "+10.3.1.1:80 1/1")
	stays.register(t, "ephemeral", two)
	s.expect(t, c, "ephemeral", state{2, 2}, "+10.3.1.2:80 2/2")

	stop := s.always(t, "ephemeral.svc.mesh.internal.", c.gateway)
	defer stop()
	gone.node.set(true)
	s.expect(t, c, "ephemeral", state{1, 1}, "-10.3.1.1:80 1/1")
	s.expect(t, c, "ephemeral-too", state{0, 0}, "-10.3.1.1:80 0/0")
	gone.node.set(false)
	s.expect(t, c, "ephemeral", state{2, 2}, "+10.3.1.1:80 2/2")
	s.expect(t, c, "ephemeral-too", state{1, 1}, "+10.3.1.1:80 1/1")
	stop()

	gone.deregister(t, "ephemeral-too", one)
	s.expect(t, c, "ephemeral-too", state{0, 0}, "-10.3.1.1:80 0/0")
	gone.deregister(t, "ephemeral", one)
	s.expect(t, c, "ephemeral", state{1, 1}, "-10.3.1.1:80 1/1")
	stays.deregister(t, "ephemeral", two)
	s.expect(t, c, "ephemeral", state{0, 0}, "-10.3.1.2:80 0/0")
}
