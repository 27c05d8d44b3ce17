package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/seamark-mesh/seamark/registry"
)

// hostileCases put names that no DNS label can hold, and a mebibyte of metadata,
// beside healthy services: only what is hostile is refused, or cut.
func (s *stage) hostileCases(t *testing.T) {
	for kind, c := range s.clusters {
		t.Run(kind+"/hostile neighbours", func(t *testing.T) {
			if kind != "file" { // which is one document: whoever changes it writes the mebibyte again
				t.Parallel()
			}
			beside := "beside-hostile-" + kind
			one := instance{id: beside, address: "10.8.3.1", port: 80, version: "1"}
			c.put(t, beside, one)
			s.expect(t, c, beside, state{1, 1}, "+"+s.id(c, one)+" 1/1")
			stop := s.always(t, beside+".svc.mesh.internal.", c.gateway)
			defer stop()
			for _, service := range []string{"bad name\u202e", "münchen", "***", "---", "odd", "fat", strings.Repeat("a", 300), registry.Label(strings.Repeat("a", 300))} {
				s.freely(c, service) // judged by what is answered
			}
			c.mu.Lock()
			c.registry.hostile(t)
			c.mu.Unlock()
			huge, total := c.huge(t, s)
			s.freely(c, huge)
			s.eventually(t, 2*patienceOfTests, huge+" is known", func() error {
				shown, err := s.shown(huge, c.name)
				if err == nil && (shown.Total != total || shown.Healthy != total) {
					err = fmt.Errorf("%d healthy of %d, with %d listed, want %d", shown.Healthy, shown.Total, len(shown.Instances), total)
				}
				return err
			})
			s.look(t, c, huge, state{total, total})
			one.version = "2"
			c.put(t, beside, one)
			s.expect(t, c, beside, state{1, 1}, "~"+s.id(c, one)+" version 1/1")
			stop()
			s.answers(t, clusterName("fat", c.name), "A", c.gateway) // only its metadata is refused
			last := events(s.tape.all(), c.name, registry.DefaultNamespace, huge)
			c.mu.Lock()
			if f, ok := c.registry.(*fileRegistry); ok { // or every later change of the file takes long
				delete(f.services, huge)
				f.garbage = nil
				f.save(t)
			}
			c.mu.Unlock()
			t.Logf("%s: %s has %d instances, %d of them listed in its last of %d events", kind, huge, total, len(last[len(last)-1].Service.Instances), len(last))
		})
	}
}

// huge registers one service with a mebibyte of metadata, in as few instances as
// the registry itself allows, and says how many they are. With Nacos it is an eighth
// of that: it refuses the mebibyte in one instance, and pushes all instances again
// with each that is added.
func (c *staged) huge(t *testing.T, s *stage) (service string, instances int) {
	t.Helper()
	service = "huge-" + c.kind
	const mebibyte = 1 << 20
	switch r := c.registry.(type) {
	case *consulRegistry:
		meta := map[string]string{}
		for n := range 64 {
			meta[fmt.Sprintf("key-%d", n)] = strings.Repeat("x", 512)
		}
		instances = mebibyte/(64*512) + 2
		n := s.consulNode("huge-node")
		for k := range instances {
			n.put(t, &api.AgentService{ID: fmt.Sprintf("huge-%d", k), Service: service, Address: "10.8.3.2", Port: 80, Meta: meta}, api.HealthPassing)
		}
	case *nacosRegistry:
		// Nacos itself bounds what it takes of one instance.
		values := url.Values{"serviceName": {service}, "ip": {"10.8.3.2"}, "port": {"80"}, "ephemeral": {"false"}}
		values.Set("metadata", `{"large":"`+strings.Repeat("x", mebibyte)+`"}`)
		reply, err := http.PostForm("http://"+r.server.Addr+"/nacos/v1/ns/instance", values)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(reply.Body)
		_ = reply.Body.Close()
		t.Logf("Nacos answers a mebibyte of metadata with %s %.100q", reply.Status, text)
		const most = 900
		for instances*most < mebibyte/8 {
			values.Set("port", fmt.Sprint(81+instances))
			values.Set("metadata", `{"large":"`+strings.Repeat("x", most)+`"}`)
			if err := r.call(http.MethodPost, "/instance", values); err != nil {
				t.Fatal(err)
			}
			instances++
		}
		if reply.StatusCode == http.StatusOK {
			instances++
		}
	case *fileRegistry:
		c.mu.Lock()
		defer c.mu.Unlock()
		for k := range 100 {
			instances++
			r.services[service] = append(r.services[service], map[string]any{
				"id": fmt.Sprintf("huge-%d", k), "address": "10.8.3.2", "port": 80, "meta": map[string]string{"large": strings.Repeat("x", 500)},
			})
		}
		r.services[service][0]["meta"] = map[string]string{"whole": strings.Repeat("x", mebibyte)} // refused; the instance stands
		r.save(t)
	}
	return service, instances
}
