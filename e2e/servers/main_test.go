package servers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// One server of each kind for the whole package; a test that needs a second one starts it.
var (
	consul = servers.Share(servers.StartConsul, servers.ConsulConfig{TLS: true, ACLs: true})
	nacos  = servers.Share(servers.StartNacos, servers.NacosConfig{})
	nats   = servers.Share(servers.StartNATS, servers.NATSConfig{})
)

// parentDirEnv makes the test binary start a NATS server in that directory and then wait to be killed.
const parentDirEnv = "SEAMARK_TEST_PARENT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentDirEnv); dir != "" {
		beParent(dir)
	}
	code := m.Run()
	if err := errors.Join(consul.Close(), nacos.Close(), nats.Close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreAnyFunction(nacosSDKReceiver), goleak.IgnoreTopFunction(nacosSDKLog)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Goroutines of the Nacos SDK that its CloseClient leaves behind: one reads a UDP socket that servers of version 2 do not
// use, one is the log's, which may have begun or not.
const (
	nacosSDKReceiver = "github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client/naming_http.(*PushReceiver).handleClient"
	nacosSDKLog      = "gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"
)

func beParent(dir string) {
	server, err := servers.StartNATS(context.Background(), dir, servers.NATSConfig{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.Monitor)
	select {}
}
