package e2e

import (
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"testing"
)

// nacosCases are the changes that only Nacos makes.
func (s *stage) nacosCases(t *testing.T) {
	for name, run := range map[string]func(*testing.T, *stage, *staged){
		"enabled and disabled": testNacosEnabled,
		"weight":               testNacosWeight,
		"unhealthy":            testNacosUnhealthy,
		"version and metadata": testNacosMetadata,
		"a whole node gone":    testNacosNodeGone,
	} {
		t.Run("nacos/"+name, func(t *testing.T) {
			t.Parallel()
			run(t, s, s.clusters["nacos"])
		})
	}
}

// nacosPut registers two instances, and returns a func that changes one of them as
// the console does: with the whole of its state.
func nacosPut(t *testing.T, c *staged, service, address string) (change func(port int, with url.Values)) {
	t.Helper()
	c.put(t, service, instance{id: "n1", address: address, port: 81, version: "1.0.0"}, instance{id: "n2", address: address, port: 82, version: "1.0.0"})
	r, _ := c.registry.(*nacosRegistry)
	return func(port int, with url.Values) {
		t.Helper()
		values := url.Values{"serviceName": {service}, "ip": {address}, "port": {strconv.Itoa(port)}, "ephemeral": {"false"}}
		maps.Copy(values, with)
		if err := r.call(http.MethodPut, "/instance", values); err != nil {
			t.Fatal(err)
		}
	}
}

func testNacosEnabled(t *testing.T, s *stage, c *staged) {
	s.freely(c, "switched") // the two instances come in one event or in two
	change := nacosPut(t, c, "switched", "10.3.0.1")
	s.look(t, c, "switched", state{2, 2})
	on, off := url.Values{"enabled": {"true"}}, url.Values{"enabled": {"false"}}
	next := s.following(t, c, "switched", state{2, 2})
	change(81, off)
	next(t, state{1, 1}, "-10.3.0.1:81 1/1")
	change(82, off) // the last one that is switched on
	next(t, state{0, 0}, "-10.3.0.1:82 0/0")
	change(82, on)
	next(t, state{1, 1}, "+10.3.0.1:82 1/1")
	change(81, on)
	next(t, state{2, 2}, "+10.3.0.1:81 2/2")
}

func testNacosWeight(t *testing.T, s *stage, c *staged) {
	s.freely(c, "weighed")
	change := nacosPut(t, c, "weighed", "10.3.0.2")
	s.look(t, c, "weighed", state{2, 2})
	weight := func(w string) url.Values { return url.Values{"weight": {w}} }
	next := s.following(t, c, "weighed", state{2, 2})
	change(81, weight("0"))
	next(t, state{1, 2}, "~10.3.0.2:81 weight 1/2")
	change(82, weight("0"))
	next(t, state{0, 2}, "~10.3.0.2:82 weight 0/2")
	change(82, weight("5"))
	next(t, state{1, 2}, "~10.3.0.2:82 weight 1/2")
	change(81, weight("1"))
	next(t, state{2, 2}, "~10.3.0.2:81 weight 2/2")
	change(81, weight("0.5")) // below 1 is still some traffic, and not told apart
	s.nothing(t, c, "weighed", state{2, 2})
	next(t, state{2, 2})
}

func testNacosUnhealthy(t *testing.T, s *stage, c *staged) {
	s.freely(c, "sick")
	one, two := instance{id: "n1", address: "10.3.0.3", port: 81}, instance{id: "n2", address: "10.3.0.3", port: 82}
	c.put(t, "sick", one, two)
	s.look(t, c, "sick", state{2, 2})
	next := s.following(t, c, "sick", state{2, 2})
	one.bad = true
	c.put(t, "sick", one, two)
	next(t, state{1, 2}, "~10.3.0.3:81 health 1/2")
	// Once all have failed, Nacos calls all of them healthy: their health is unknown, and stays as it was.
	two.bad = true
	c.put(t, "sick", one, two)
	s.nothing(t, c, "sick", state{1, 2})
	next(t, state{1, 2})
	two.bad = false
	c.put(t, "sick", one, two)
	s.nothing(t, c, "sick", state{1, 2})
	one.bad = false
	c.put(t, "sick", one, two)
	next(t, state{2, 2}, "~10.3.0.3:81 health 2/2")
}

func testNacosMetadata(t *testing.T, s *stage, c *staged) {
	s.freely(c, "labelled")
	change := nacosPut(t, c, "labelled", "10.3.0.4")
	s.look(t, c, "labelled", state{2, 2})
	next := s.following(t, c, "labelled", state{2, 2})
	meta := func(text string) url.Values { return url.Values{"metadata": {text}} }
	change(81, meta(`{"version":"1.1.0"}`))
	next(t, state{2, 2}, "~10.3.0.4:81 version 2/2")
	s.text(t, "labelled.svc.mesh.internal.", "1.1.0")
	change(81, meta(`{"version":"1.1.0","team":"red"}`))
	next(t, state{2, 2}, "~10.3.0.4:81 meta 2/2")
	shown, err := s.shown("labelled", c.name)
	if err != nil || len(shown.Instances) != 2 || shown.Instances[0].Meta["team"] != "red" {
		t.Errorf("/v1/services gives %+v (%v)", shown, err)
	}
}
