package e2e

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// joinedCases have one service in several clusters.
func (s *stage) joinedCases(t *testing.T) {
	t.Run("joined/Consul and Nacos", func(t *testing.T) {
		t.Parallel()
		testJoined(t, s, "joined", s.clusters["consul"], s.clusters["nacos"])
	})
	t.Run("joined/Consul and a file", func(t *testing.T) {
		t.Parallel()
		testJoined(t, s, "joined-too", s.clusters["consul"], s.clusters["file"])
	})
	t.Run("joined/gateway ports in conflict", func(t *testing.T) {
		t.Parallel()
		testPortConflict(t, s)
	})
}

// testJoined registers one service in two clusters: one name, both gateways, and
// each cluster comes and goes without a word from the other.
func testJoined(t *testing.T, s *stage, service string, one, two *staged) {
	name := service + ".svc.mesh.internal."
	inOne := instance{id: service, address: "10.8.4.1", port: 80, version: "1.0.0"}
	inTwo := instance{id: service, address: "10.8.4.2", port: 80, version: "2.0.0"}
	why := func(want map[string]string) {
		t.Helper()
		s.eventually(t, patienceOfTests, "the HTTP interface gives the reasons", func() error {
			reply, err := s.resolved(name)
			if err != nil {
				return err
			}
			got := map[string]string{}
			for _, w := range reply.Why {
				if want[w.Cluster] != "" {
					got[w.Cluster] = w.Reason
				}
			}
			if !reflect.DeepEqual(got, want) {
				return fmt.Errorf("%+v", reply)
			}
			return nil
		})
	}
	one.put(t, service, inOne)
	s.expectWithin(t, patienceOfTests, one, service, "+"+s.id(one, inOne)+" 1/1")
	s.answers(t, name, "A", one.gateway)
	stop := s.always(t, clusterName(service, one.name), one.gateway)
	two.put(t, service, inTwo)
	s.expectWithin(t, patienceOfTests, two, service, "+"+s.id(two, inTwo)+" 1/1")
	s.answers(t, name, "A", one.gateway, two.gateway)
	s.answers(t, "_http._tcp."+name, "SRV",
		"0 1 8080 gw-1."+one.name+".gw.mesh.internal.", "0 1 8080 gw-1."+two.name+".gw.mesh.internal.")
	why(map[string]string{one.name: "serving", two.name: "serving"})
	s.text(t, name, "cluster="+two.name, "versions=2.0.0")

	two.put(t, service)
	s.expectWithin(t, patienceOfTests, two, service, "-"+s.id(two, inTwo)+" 0/0")
	s.answers(t, name, "A", one.gateway)
	why(map[string]string{one.name: "serving", two.name: "no instance is registered"})
	stop()
	two.put(t, service, inTwo)
	s.expectWithin(t, patienceOfTests, two, service, "+"+s.id(two, inTwo)+" 1/1")
	s.answers(t, name, "A", one.gateway, two.gateway)
	sick := inOne
	sick.bad = true
	one.put(t, service, sick)
	s.expectWithin(t, patienceOfTests, one, service, "~"+s.id(one, inOne)+" health 0/1")
	s.answers(t, name, "A", two.gateway)
	why(map[string]string{one.name: "no instance is passing or warning with a weight above 0", two.name: "serving"})
	one.put(t, service)
	s.expectWithin(t, patienceOfTests, one, service, "-"+s.id(one, inOne)+" 0/0")
	two.put(t, service)
	s.expectWithin(t, patienceOfTests, two, service, "-"+s.id(two, inTwo)+" 0/0")
	s.answers(t, name, "A") // known to both, and nobody has an instance
}

// testPortConflict: the gateways of the Consul and the Nacos cluster have different
// ports of one name, and the file's has none. SRV tells each its own; the
// interfaces report that plain addresses do not lead everywhere.
func testPortConflict(t *testing.T, s *stage) {
	const service, name = "at-odds", "at-odds.svc.mesh.internal."
	conflicts := func() (found []string) {
		t.Helper()
		var reply struct {
			Conflicts []struct{ Port, Detail string }
		}
		if err := get("http://"+s.http+"/v1/services/default/"+service, &reply); err != nil {
			t.Fatal(err)
		}
		for _, c := range reply.Conflicts {
			found = append(found, c.Detail)
		}
		return found
	}
	for _, step := range []struct {
		kind string
		want string
	}{
		{"consul", ""},
		{"nacos", "gateway port grpc is 50051 in amber, 9090 in bronze"},
		{"file", "gateway port grpc is 50051 in amber, 9090 in bronze, and missing in cobalt"},
	} {
		c := s.clusters[step.kind]
		i := instance{id: service, address: "10.8.5.1", port: 80}
		c.put(t, service, i)
		s.expectWithin(t, patienceOfTests, c, service, "+"+s.id(c, i)+" 1/1")
		s.text(t, name, "cluster="+c.name, "healthy=1")
		if got := strings.Join(conflicts(), "; "); got != step.want {
			t.Errorf("with %s the conflicts are %q, want %q", step.kind, got, step.want)
		}
	}
	s.answers(t, name, "A", amberGateway, bronzeGateway, cobaltGateway)
	s.answers(t, "_grpc._tcp."+name, "SRV", "0 1 50051 gw-1.amber.gw.mesh.internal.", "0 1 9090 gw-1.bronze.gw.mesh.internal.")
	s.answers(t, "_http._tcp."+name, "SRV", "0 1 8080 gw-1.amber.gw.mesh.internal.", "0 1 8080 gw-1.bronze.gw.mesh.internal.", "0 1 8080 gw-1.cobalt.gw.mesh.internal.")

	out, _ := s.seamark(t, "services", service)
	if !strings.Contains(out, "conflict: gateway port grpc is 50051 in amber, 9090 in bronze, and missing in cobalt") {
		t.Errorf("seamark services says nothing of the conflict:\n%s", out)
	}
	out, _ = s.seamark(t, "services", "-o", "json")
	var reply struct {
		Services []struct {
			Name      string
			Clusters  []struct{ Cluster string }
			Conflicts []struct{ Port string }
		}
	}
	if err := json.Unmarshal([]byte(out), &reply); err != nil {
		t.Fatal(err)
	}
	reported := false
	for _, r := range reply.Services {
		reported = reported || r.Name == service && len(r.Conflicts) == 1
		if len(r.Clusters) == 1 && len(r.Conflicts) > 0 {
			t.Errorf("%s is in one cluster, but reported as a conflict: %+v", r.Name, r)
		}
	}
	if !reported {
		t.Errorf("the list of services says nothing of the conflict:\n%.2000s", out)
	}
}
