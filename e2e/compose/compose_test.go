package compose

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	checkout = "checkout.svc.mesh.internal"
	all      = "NOERROR " + amberGateway + " " + bronzeGateway + " " + cobaltGateway
	// soon is far above what a change takes, for a machine that has other work too.
	soon = 30 * time.Second
)

// TestThreeClusters follows changes in each registry to what a client in another network gets.
func TestThreeClusters(t *testing.T) {
	p := up(t, need(t))
	p.answers(t, 90*time.Second, checkout, all)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *project)
	}{
		{"images", images},
		{"isolation", isolation},
		{"fetch across clusters", fetchAcross},
		{"register in Consul", registerInConsul},
		{"register in Nacos", registerInNacos},
		{"instances stop, Consul", instancesStopInConsul},
		{"instances stop, Nacos", instancesStopInNacos},
		{"an agent stops", agentStops},
		{"a registry stops", registryStops},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, p) }) {
			return // the next would begin from another state than it expects
		}
	}
}

// images: health checks work without a shell, and nothing of ours runs as root.
func images(t *testing.T, p *project) {
	for _, service := range []string{"global-dns", "amber-edge-sync", "bronze-edge-sync", "cobalt-edge-sync"} {
		eventually(t, soon, service+" is healthy", func() error {
			if health := p.container(t, service, "{{.State.Health.Status}}"); health != "healthy" {
				return fmt.Errorf("it is %s: %s", health, p.container(t, service, "{{json .State.Health.Log}}"))
			}
			return nil
		})
		if user := p.container(t, service, "{{.Config.User}}"); user != "65532:65532" {
			t.Errorf("%s runs as %q", service, user)
		}
	}
}

// isolation: from each network every address of every registry is asked, and only the own registry is reached.
func isolation(t *testing.T, p *project) {
	var script strings.Builder
	for cluster, path := range map[string]string{
		"amber-consul": ":8500/v1/status/leader", "bronze-consul": ":8500/v1/status/leader", "cobalt-nacos": ":8848/nacos/v1/ns/operator/metrics",
	} {
		for _, address := range p.addresses(t, cluster) {
			fmt.Fprintf(&script, "timeout 2 wget -q -O /dev/null http://%v%s && echo %s &\n", address, path, cluster)
		}
	}
	script.WriteString("wait\n")
	for network, reaches := range map[string]string{"amber": "amber-consul", "bronze": "bronze-consul", "cobalt": "cobalt-nacos", "mesh": ""} {
		got, err := p.run(t.Context(), "docker", "run", "--rm", "--network", p.name+"_"+network, "seamark-standin/busybox", "sh", "-c", script.String())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(strings.Fields(got), " ") != reaches {
			t.Errorf("from the network %s one reaches %q, and should reach %q", network, got, reaches)
		}
	}
}

// fetchAcross: the client gets answers from every instance of every cluster, and from the cluster that a name pins.
func fetchAcross(t *testing.T, p *project) {
	var want []string
	for _, cluster := range []string{"amber", "bronze", "cobalt"} {
		for _, instance := range []string{"1", "2"} {
			want = append(want, fmt.Sprintf("%s: instance %s of cluster %s", checkout, instance, cluster))
		}
	}
	seen := map[string]bool{}
	took := eventually(t, 2*soon, "every instance has answered", func() error {
		text, err := p.fetch(t, checkout)
		if err != nil {
			return err
		}
		if !slices.Contains(want, text) {
			t.Fatalf("the client got %q", text)
		}
		if seen[text] = true; len(seen) < len(want) {
			return fmt.Errorf("only %v answered", seen)
		}
		return nil
	})
	t.Logf("all six instances had answered after %v", took.Round(time.Millisecond))
	for _, cluster := range []string{"amber", "bronze", "cobalt"} {
		name := "checkout.default." + cluster + ".cluster.mesh.internal"
		if text, err := p.fetch(t, name); err != nil || !strings.HasSuffix(text, "of cluster "+cluster) {
			t.Errorf("%s: the client got %q, %v", name, text, err)
		}
	}
}

// registerInConsul: a service that is registered can be fetched, one that is deregistered cannot, and its name stays known.
func registerInConsul(t *testing.T, p *project) {
	const parcel = "parcel.svc.mesh.internal"
	p.answers(t, soon, parcel, "NXDOMAIN")
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/register", `{"Name":"parcel","Address":"checkout-2","Port":8080}`)
	p.answers(t, soon, parcel, "NOERROR "+amberGateway)
	p.fetches(t, parcel, parcel+": instance 2 of cluster amber")
	p.call(t, http.MethodPut, "BRONZE_CONSUL_PORT", "/v1/agent/service/register", `{"Name":"parcel","Address":"checkout-1","Port":8080}`)
	p.answers(t, soon, parcel, "NOERROR "+amberGateway+" "+bronzeGateway)
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/deregister/parcel", "")
	p.answers(t, soon, parcel, "NOERROR "+bronzeGateway)
	p.fetches(t, parcel, parcel+": instance 1 of cluster bronze")
	p.call(t, http.MethodPut, "BRONZE_CONSUL_PORT", "/v1/agent/service/deregister/parcel", "")
	p.answers(t, soon, parcel, "NOERROR")
	if text, err := p.fetch(t, parcel); err == nil {
		t.Errorf("nobody serves %s, and the client got %q", parcel, text)
	}
	p.stays(t, 0, checkout, all)
}

func registerInNacos(t *testing.T, p *project) {
	const (
		report = "report.svc.mesh.internal"
		path   = "/nacos/v1/ns/instance?serviceName=report&ip=10.153.3.21&port=8080&ephemeral=false"
	)
	p.answers(t, soon, report, "NXDOMAIN")
	p.call(t, http.MethodPost, "NACOS_PORT", path, "")
	p.answers(t, soon, report, "NOERROR "+cobaltGateway)
	p.fetches(t, report, report+": instance ")
	p.call(t, http.MethodPut, "NACOS_PORT", path+"&enabled=false", "")
	p.answers(t, soon, report, "NOERROR")
	p.call(t, http.MethodPut, "NACOS_PORT", path+"&enabled=true", "")
	p.answers(t, soon, report, "NOERROR "+cobaltGateway)
	p.call(t, http.MethodDelete, "NACOS_PORT", path, "")
	p.answers(t, soon, report, "NOERROR")
}

// fetches waits until the client gets this, or what begins so: the gateway may ask its cluster's DNS once a second.
func (p *project) fetches(t *testing.T, name, want string) {
	t.Helper()
	eventually(t, soon, name+" can be fetched", func() error {
		text, err := p.fetch(t, name)
		if err == nil && !strings.HasPrefix(text, want) {
			err = fmt.Errorf("the client got %q", text)
		}
		return err
	})
}

// instancesStopInConsul: a cluster whose instances are gone gets no more traffic, and a client always gets an answer.
func instancesStopInConsul(t *testing.T, p *project) {
	p.must(t, "stop", "--timeout", "1", "bronze-checkout-1", "bronze-checkout-2")
	p.answers(t, soon, checkout, "NOERROR "+amberGateway+" "+cobaltGateway)
	for range 4 {
		if text, err := p.fetch(t, checkout); err != nil || strings.HasSuffix(text, "bronze") {
			t.Errorf("the client got %q, %v", text, err)
		}
	}
	p.must(t, "start", "bronze-checkout-1", "bronze-checkout-2")
	p.answers(t, soon, checkout, all)
}

// instancesStopInNacos: Nacos itself asks persistent instances, by TCP every few seconds.
func instancesStopInNacos(t *testing.T, p *project) {
	p.must(t, "stop", "--timeout", "1", "cobalt-checkout-1", "cobalt-checkout-2")
	p.answers(t, 2*soon, checkout, "NOERROR "+amberGateway+" "+bronzeGateway)
	p.must(t, "start", "cobalt-checkout-1", "cobalt-checkout-2")
	p.answers(t, 2*soon, checkout, all)
}

// agentStops: what an agent has said stands without it, and what happens meanwhile is found when it is back.
func agentStops(t *testing.T, p *project) {
	const early, late = "early.svc.mesh.internal", "late.svc.mesh.internal"
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/register", `{"Name":"early","Address":"checkout-1","Port":8080}`)
	p.answers(t, soon, early, "NOERROR "+amberGateway)
	p.must(t, "stop", "--timeout", "5", "amber-edge-sync")
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/deregister/early", "")
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/register", `{"Name":"late","Address":"checkout-1","Port":8080}`)
	p.stays(t, 2*time.Second, checkout, all)
	p.stays(t, 0, early, "NOERROR "+amberGateway)
	p.stays(t, 0, late, "NXDOMAIN")
	if text, err := p.fetch(t, "checkout.default.amber.cluster.mesh.internal"); err != nil {
		t.Errorf("the client got %q, %v", text, err)
	}
	p.must(t, "start", "amber-edge-sync")
	p.answers(t, soon, late, "NOERROR "+amberGateway)
	p.answers(t, soon, early, "NOERROR")
	p.stays(t, 0, checkout, all)
}

// registryStops: a registry that cannot be read withdraws nothing.
func registryStops(t *testing.T, p *project) {
	p.must(t, "kill", "bronze-consul")
	p.stays(t, 3*time.Second, checkout, all)
	if running := p.container(t, "bronze-consul", "{{.State.Running}}"); running != "false" {
		t.Errorf("the registry was to be stopped; running: %s", running)
	}
}

// TestConfigurations: the files are right, for every compose that is here and for our own programs. It needs no engine.
func TestConfigurations(t *testing.T) {
	contexts := t.TempDir()
	for _, image := range standInImages { // the older compose looks whether they are there
		if err := os.Mkdir(filepath.Join(contexts, image), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e := &engine{environ: append(os.Environ(), "STANDINS="+contexts)}
	for _, compose := range findCompose(t) {
		for _, files := range [][]string{{}, {"-f", "docker-compose.yml", "-f", "e2e/compose/override.yml"}} {
			if _, err := e.run(t.Context(), slices.Concat(compose, files, []string{"config", "--quiet"})...); err != nil {
				t.Error(err)
			}
		}
	}
	dir := t.TempDir() + string(filepath.Separator)
	goBuild(t, root, dir, "./cmd/edge-sync", "./cmd/global-dns")
	for file, program := range map[string]string{
		"global-dns.yaml": "global-dns", "amber/edge-sync.yaml": "edge-sync", "bronze/edge-sync.yaml": "edge-sync", "cobalt/edge-sync.yaml": "edge-sync",
	} {
		if _, err := e.run(t.Context(), dir+program, "check", "--config", filepath.Join("deploy", "compose", file)); err != nil {
			t.Error(err)
		}
	}
}
