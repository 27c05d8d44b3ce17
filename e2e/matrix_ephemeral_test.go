package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// application is a program with Nacos's own SDK on a node of its own. What it
// registers is ephemeral: it lives as long as the SDK's connection, and the SDK
// registers it again when it has another one. It is a process of its own: when the SDK
// connects again it races with itself, which is no fault of what is tested.
type application struct {
	node  *door // shut: the node is gone
	asks  *json.Encoder
	tells *bufio.Reader
}

// applicationPort is the environment variable that makes the test's program an application.
const applicationPort = "E2E_NACOS_APPLICATION"

// wish is what an application is asked for.
type wish struct {
	Deregister           bool
	Service, IP, Version string
	Port                 int
}

func newApplication(t *testing.T, server *servers.NacosServer) *application {
	t.Helper()
	a := &application{}
	a.node, _ = newDoor(t, server.Port, 1000) // gRPC listens there
	command := exec.Command(os.Args[0])
	command.Dir = t.TempDir()
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%d", applicationPort, a.node.port))
	dieWithParent(command)
	asks, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	tells, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = asks.Close() // then it ends
		_, _ = io.Copy(io.Discard, tells)
		_ = command.Wait() // the SDK's races are its exit code
	})
	a.asks, a.tells = json.NewEncoder(asks), bufio.NewReader(tells)
	return a
}

// beApplication does what its standard input asks for, until that ends.
func beApplication(port string) int {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		panic(err)
	}
	client, err := clients.NewNamingClient(vo.NacosClientParam{
		ClientConfig: constant.NewClientConfig(
			constant.WithLogDir("nacos-sdk"), constant.WithCacheDir("nacos-sdk"), constant.WithLogLevel("error"),
			constant.WithNotLoadCacheAtStart(true), constant.WithUpdateCacheWhenEmpty(true)),
		ServerConfigs: []constant.ServerConfig{*constant.NewServerConfig("127.0.0.1", number)},
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer client.CloseClient()
	for asked := json.NewDecoder(os.Stdin); ; {
		var w wish
		if asked.Decode(&w) != nil {
			return 0
		}
		if w.Deregister {
			_, err = client.DeregisterInstance(vo.DeregisterInstanceParam{ServiceName: w.Service, Ip: w.IP, Port: uint64(w.Port), Ephemeral: true})
		} else {
			_, err = client.RegisterInstance(vo.RegisterInstanceParam{
				ServiceName: w.Service, Ip: w.IP, Port: uint64(w.Port), Weight: 1, Enable: true, Healthy: true, Ephemeral: true,
				Metadata: map[string]string{"version": w.Version},
			})
		}
		if err != nil {
			fmt.Println("failed:", strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println("done")
	}
}

func (a *application) do(t *testing.T, w wish) {
	t.Helper()
	if err := a.asks.Encode(w); err != nil {
		t.Fatal(err)
	}
	for { // the SDK prints too
		line, err := a.tells.ReadString('\n')
		switch {
		case err != nil:
			t.Fatalf("the application has ended: %v", err)
		case line == "done\n":
			return
		case strings.HasPrefix(line, "failed:"):
			t.Fatal(line)
		}
	}
}

func (a *application) register(t *testing.T, service string, i instance) {
	t.Helper()
	a.do(t, wish{Service: service, IP: i.address, Port: i.port, Version: i.version})
}

func (a *application) deregister(t *testing.T, service string, i instance) {
	t.Helper()
	a.do(t, wish{Deregister: true, Service: service, IP: i.address, Port: i.port})
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
