package servers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

func TestNacosPushesToTheSDK(t *testing.T) {
	t.Parallel()
	// A server of its own beside the shared one, which the next test kills meanwhile.
	server := servers.Nacos(t, servers.NacosConfig{})
	client := nacosClient(t, server)
	pushes := make(chan []model.Instance, 16)
	subscription := &vo.SubscribeParam{
		ServiceName:       "web",
		SubscribeCallback: func(instances []model.Instance, _ error) { pushes <- instances },
	}
	if err := client.Subscribe(subscription); err != nil {
		t.Fatal(err)
	}
	_, err := client.RegisterInstance(vo.RegisterInstanceParam{
		ServiceName: "web", Ip: "10.0.0.1", Port: 8080, Weight: 1, Enable: true, Healthy: true, Ephemeral: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	late := time.After(30 * time.Second)
	for {
		select {
		case instances := <-pushes:
			if len(instances) == 1 && instances[0].Ip == "10.0.0.1" {
				return
			}
		case <-late:
			t.Fatal("no push shows the instance")
		}
	}
}

func TestNacosKeepsPersistentInstancesWhenKilled(t *testing.T) {
	t.Parallel()
	server := nacos.For(t)
	instance := url.Values{
		"serviceName": {"kept"}, "ip": {"10.0.0.2"}, "port": {"9090"}, "ephemeral": {"false"},
	}.Encode()
	api := "http://" + server.Addr + "/nacos/v1/ns/instance"
	if got := request(t, http.MethodPost, api+"?"+instance); string(got) != "ok" {
		t.Fatalf("registering answered %q", got)
	}

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	var list struct {
		Hosts []struct{ IP string }
	}
	if err := json.Unmarshal(request(t, http.MethodGet, api+"/list?serviceName=kept"), &list); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(list.Hosts); got != "[{10.0.0.2}]" {
		t.Errorf("after a kill and a start the service has %s, want [{10.0.0.2}]", got)
	}
}

// TestNacosLeavesNothingInTheTemporaryFolder: what it unpacks there lies among its
// own files, and goes with them.
func TestNacosLeavesNothingInTheTemporaryFolder(t *testing.T) {
	t.Parallel()
	own := filepath.Join(filepath.Dir(nacos.For(t).LogFile()), "tmp")
	for _, pattern := range []string{"tomcat*", "librocksdbjni*"} {
		if found, err := filepath.Glob(filepath.Join(own, pattern)); err != nil || len(found) == 0 {
			t.Errorf("no %s in %s (%v): it must be elsewhere", pattern, own, err)
		}
	}
}

func nacosClient(t *testing.T, server *servers.NacosServer) naming_client.INamingClient {
	t.Helper()
	client, err := clients.NewNamingClient(vo.NacosClientParam{
		ClientConfig: constant.NewClientConfig(
			constant.WithLogDir(t.TempDir()), constant.WithCacheDir(t.TempDir()), constant.WithLogLevel("error"),
			constant.WithNotLoadCacheAtStart(true), constant.WithUpdateCacheWhenEmpty(true)),
		ServerConfigs: []constant.ServerConfig{*constant.NewServerConfig("127.0.0.1", uint64(server.Port))},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseClient)
	return client
}

// request returns the body of a 200.
func request(t *testing.T, method, address string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s", method, address, response.Status, body)
	}
	return body
}

func responds(address string) bool {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(address)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}
