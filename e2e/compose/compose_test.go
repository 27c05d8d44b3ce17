package compose

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
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

// isolation: from each network every address of every registry and every instance is asked, and only those of the own cluster
// are reached: a client on the mesh comes to an instance by its gateway or not at all.
func isolation(t *testing.T, p *project) {
	var script strings.Builder
	reaches := map[string][]string{"mesh": nil}
	for cluster, registry := range map[string]struct{ name, path string }{
		"amber":  {"amber-consul", ":8500/v1/status/leader"},
		"bronze": {"bronze-consul", ":8500/v1/status/leader"},
		"cobalt": {"cobalt-nacos", ":8848/nacos/v1/ns/operator/metrics"},
	} {
		for container, path := range map[string]string{
			registry.name: registry.path, cluster + "-checkout-1": ":8080/healthz", cluster + "-checkout-2": ":8080/healthz",
		} {
			reaches[cluster] = append(reaches[cluster], container)
			for _, address := range p.addresses(t, container) {
				fmt.Fprintf(&script, "timeout 2 wget -q -O /dev/null http://%v%s && echo %s &\n", address, path, container)
			}
		}
	}
	script.WriteString("wait\n")
	for network, want := range reaches {
		text, err := p.run(t.Context(), "docker", "run", "--rm", "--network", p.name+"_"+network, "seamark-standin/busybox", "sh", "-c", script.String())
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(text)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("from the network %s one reaches %q, and should reach %q", network, got, want)
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
	p.try(t, "exec amber-consul")
	p.answers(t, soon, parcel, "NOERROR "+amberGateway)
	p.fetches(t, parcel, parcel+": instance 1 of cluster amber")
	if text := p.try(t, "exec client"); text != parcel+": instance 1 of cluster amber" {
		t.Errorf("README's command fetches %q", text)
	}
	p.call(t, http.MethodPut, "BRONZE_CONSUL_PORT", "/v1/agent/service/register", `{"Name":"parcel","Address":"checkout-2","Port":8080}`)
	p.answers(t, soon, parcel, "NOERROR "+amberGateway+" "+bronzeGateway)
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/deregister/parcel", "")
	p.answers(t, soon, parcel, "NOERROR "+bronzeGateway)
	p.fetches(t, parcel, parcel+": instance 2 of cluster bronze")
	p.call(t, http.MethodPut, "BRONZE_CONSUL_PORT", "/v1/agent/service/deregister/parcel", "")
	p.answers(t, soon, parcel, "NOERROR")
	if text, err := p.fetch(t, parcel); err == nil {
		t.Errorf("nobody serves %s, and the client got %q", parcel, text)
	}
	p.stays(t, 0, map[string][]string{checkout: {all}})
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
	p.try(t, "stop bronze-checkout-1")
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

// agentStops: what an agent has said stands without it, and what happens meanwhile is found when it is back. Once its lease has
// lapsed the cluster is left out of names that others serve, and of no other.
func agentStops(t *testing.T, p *project) {
	const (
		early, late = "early.svc.mesh.internal", "late.svc.mesh.internal"
		pinned      = "checkout.default.amber.cluster.mesh.internal"
		amber       = "NOERROR " + amberGateway
		others      = "NOERROR " + bronzeGateway + " " + cobaltGateway
	)
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/register", `{"Name":"early","Address":"checkout-1","Port":8080}`)
	p.answers(t, soon, early, amber)
	p.try(t, "stop amber-edge-sync")
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/deregister/early", "")
	p.call(t, http.MethodPut, "AMBER_CONSUL_PORT", "/v1/agent/service/register", `{"Name":"late","Address":"checkout-1","Port":8080}`)
	p.stays(t, 6*time.Second, map[string][]string{checkout: {all}, pinned: {amber}, early: {amber}, late: {"NXDOMAIN"}})
	p.stays(t, 8*time.Second, map[string][]string{checkout: {all, others}, pinned: {amber}, early: {amber}, late: {"NXDOMAIN"}})
	p.answers(t, soon, checkout, others)
	p.stays(t, 2*time.Second, map[string][]string{checkout: {others}, pinned: {amber}, early: {amber}})
	if text, err := p.fetch(t, pinned); err != nil {
		t.Errorf("the client got %q, %v", text, err)
	}
	p.must(t, "start", "amber-edge-sync")
	p.answers(t, soon, late, amber)
	p.answers(t, soon, early, "NOERROR")
	p.answers(t, soon, checkout, all)
}

// registryStops: a registry that cannot be read withdraws nothing, for longer than an agent's lease either.
func registryStops(t *testing.T, p *project) {
	p.must(t, "kill", "bronze-consul")
	p.stays(t, 13*time.Second, map[string][]string{checkout: {all}})
	if running := p.container(t, "bronze-consul", "{{.State.Running}}"); running != "false" {
		t.Errorf("the registry was to be stopped; running: %s", running)
	}
}

// TestConfigurations: the files are right, for both kinds of compose and for our own programs. It needs no engine.
func TestConfigurations(t *testing.T) {
	contexts := t.TempDir()
	for _, image := range standInImages { // the older compose looks whether they are there
		if err := os.Mkdir(filepath.Join(contexts, image), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e := &engine{environ: append(os.Environ(), "STANDINS="+contexts)}
	for name, first := range map[string]bool{"compose 1": true, "compose 2": false} {
		t.Run(name, func(t *testing.T) {
			compose := needCompose(t, first)
			t.Logf("%s is version %s", compose, version(t, compose))
			for _, files := range [][]string{{}, {"-f", "docker-compose.yml", "-f", "e2e/compose/override.yml"}} {
				if _, err := e.run(t.Context(), slices.Concat(compose, files, []string{"config", "--quiet"})...); err != nil {
					t.Error(err)
				}
			}
		})
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

// TestEveryBuildHasATagOfItsOwn: compose 2 builds all images at once, and of two builds with one tag it may refuse the later.
func TestEveryBuildHasATagOfItsOwn(t *testing.T) {
	for _, file := range []string{"docker-compose.yml", "e2e/compose/override.yml"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		var project struct {
			Services map[string]struct {
				Image string
				Build any
			}
		}
		if err := yaml.Unmarshal(text, &project); err != nil {
			t.Fatal(err)
		}
		built := map[string]string{}
		for name, service := range project.Services {
			if service.Build == nil {
				continue
			}
			tag := cmp.Or(service.Image, "that of "+name) // without one compose makes it of the project and the service
			if other := built[tag]; other != "" {
				t.Errorf("%s: %s and %s are both built as %s", file, name, other, tag)
			}
			built[tag] = name
		}
		if len(built) < 4 {
			t.Errorf("%s builds only %v", file, built)
		}
	}
}
