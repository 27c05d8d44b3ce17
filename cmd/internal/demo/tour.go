package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
)

// tour walks through what the mesh does, each step measured and checked.
type tour struct {
	demo   *Demo
	out    io.Writer
	number int
	failed int
}

const zone = "mesh.internal."

// patience is how long a step waits for DNS to say what it should.
const patience = 30 * time.Second

// run takes every step; the error says how many failed.
func (t *tour) run(ctx context.Context) error {
	amber, bronze, cobalt := t.demo.clusters[0], t.demo.clusters[1], t.demo.clusters[2]
	t.step(ctx, "checkout resolves to the gateways of all three clusters", func() (string, error) {
		took, err := t.until(ctx, time.Now(), "checkout.svc."+zone, "A", t.gateways(amber, bronze, cobalt))
		return "answered after " + millis(took), err
	})
	t.step(ctx, "an instance is added in amber", func() (string, error) {
		began, err := t.edit(amber, func(c *catalog) {
			s := c.service("checkout")
			s.Instances = append(s.Instances, amber.instance(3, t.demo.portBase(amber), "checkout"))
		})
		if err != nil {
			return "", err
		}
		took, err := t.untilText(ctx, began, "checkout.svc."+zone, "cluster=amber", "total=3")
		return "DNS has it " + millis(took) + " after the file was saved", err
	})
	t.step(ctx, "a new service, parcel, appears in bronze", func() (string, error) {
		return t.appear(ctx, bronze, "parcel")
	})
	t.step(ctx, "parcel moves from bronze to cobalt", func() (string, error) {
		return t.move(ctx, bronze, cobalt, "parcel")
	})
	t.step(ctx, "parcel vanishes: its name stays known, without an address", func() (string, error) {
		began, err := t.edit(cobalt, func(c *catalog) { c.remove("parcel") })
		if err != nil {
			return "", err
		}
		took, err := t.until(ctx, began, "parcel.svc."+zone, "A", nil)
		return "NODATA after " + millis(took), err
	})
	var alive time.Time // when bronze was still among the answers
	t.step(ctx, "the last instance of checkout in bronze fails", func() (string, error) {
		alive = time.Now()
		began, err := t.edit(bronze, func(c *catalog) { c.service("checkout").health("critical") })
		if err != nil {
			return "", err
		}
		took, err := t.until(ctx, began, "checkout.svc."+zone, "A", t.gateways(amber, cobalt))
		return "bronze left the answers after " + millis(took), err
	})
	t.step(ctx, "what did it answer before I killed that instance?", func() (string, error) {
		return t.past(ctx, alive, bronze, amber, cobalt)
	})
	t.step(ctx, "it recovers", func() (string, error) {
		began, err := t.edit(bronze, func(c *catalog) { c.service("checkout").health("passing") })
		if err != nil {
			return "", err
		}
		took, err := t.until(ctx, began, "checkout.svc."+zone, "A", t.gateways(amber, bronze, cobalt))
		return "bronze is back after " + millis(took), err
	})
	t.step(ctx, "cobalt's agent is killed (-9) while its catalogue changes, and started again", func() (string, error) {
		return t.restart(ctx, cobalt)
	})
	t.step(ctx, "a request follows the answer through a gateway to an instance", func() (string, error) {
		return t.request(ctx)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.failed > 0 {
		return fmt.Errorf("%d of %d steps of the tour failed", t.failed, t.number)
	}
	return nil
}

// step runs one step and prints what came of it.
func (t *tour) step(ctx context.Context, title string, f func() (string, error)) {
	if ctx.Err() != nil {
		return
	}
	t.number++
	fmt.Fprintf(t.out, "%2d. %s\n", t.number, title)
	said, err := f()
	if err != nil {
		t.failed++
		fmt.Fprintf(t.out, "    FAILED: %v\n", err)
		return
	}
	fmt.Fprintf(t.out, "    ok: %s\n", said)
}

// past asks the history what was answered when one cluster was still among the answers,
// and what is answered now.
func (t *tour) past(ctx context.Context, alive time.Time, gone *cluster, others ...*cluster) (string, error) {
	const name = "checkout.svc." + zone
	before, err := t.answered(ctx, name, alive)
	if err != nil {
		return "", err
	}
	if want := t.gateways(append([]*cluster{gone}, others...)...); !slices.Equal(before, want) {
		return "", fmt.Errorf("at %s it was %v, says the history, and should be %v", alive.UTC().Format(time.RFC3339Nano), before, want)
	}
	now, err := t.answered(ctx, name, time.Now())
	if err != nil {
		return "", err
	}
	if want := t.gateways(others...); !slices.Equal(now, want) {
		return "", fmt.Errorf("now it is %v, says the history, and should be %v", now, want)
	}
	return fmt.Sprintf("at %s it was %d addresses, with %s; now %d. Try: seamark resolve %s --at %s",
		alive.Format(time.TimeOnly), len(before), gone.gateway.Addr(), len(now), strings.TrimSuffix(name, "."), alive.UTC().Format(time.RFC3339)), nil
}

// answered returns the addresses that DNS gave at a moment, by the history, sorted.
func (t *tour) answered(ctx context.Context, name string, at time.Time) ([]string, error) {
	var reply struct {
		Answers []string `json:"answers"`
	}
	question := url.Values{"name": {name}, "at": {at.UTC().Format(time.RFC3339Nano)}}
	if err := t.demo.get(ctx, "/v1/resolve?"+question.Encode(), &reply); err != nil {
		return nil, err
	}
	var addresses []string
	for _, record := range reply.Answers {
		fields := strings.Fields(record)
		addresses = append(addresses, fields[len(fields)-1])
	}
	slices.Sort(addresses)
	return addresses, nil
}

func (t *tour) appear(ctx context.Context, in *cluster, name string) (string, error) {
	a, err := ask.Ask(ctx, t.demo.options.DNS, name+".svc."+zone, "A")
	if err != nil {
		return "", err
	}
	before := a.RCode
	began, err := t.edit(in, func(c *catalog) {
		c.remove(name)
		c.Services = append(c.Services, catalogService{Name: name, Instances: []catalogInstance{in.instance(5, t.demo.portBase(in), name)}})
	})
	if err != nil {
		return "", err
	}
	took, err := t.until(ctx, began, name+".svc."+zone, "A", t.gateways(in))
	return fmt.Sprintf("%s before, an address after %s", before, millis(took)), err
}

func (t *tour) move(ctx context.Context, from, to *cluster, name string) (string, error) {
	began, err := t.edit(to, func(c *catalog) {
		c.Services = append(c.Services, catalogService{Name: name, Instances: []catalogInstance{to.instance(5, t.demo.portBase(to), name)}})
	})
	if err != nil {
		return "", err
	}
	if _, err := t.until(ctx, began, name+".svc."+zone, "A", t.gateways(from, to)); err != nil {
		return "", err
	}
	if _, err := t.edit(from, func(c *catalog) { c.remove(name) }); err != nil {
		return "", err
	}
	took, err := t.until(ctx, began, name+".svc."+zone, "A", t.gateways(to))
	return "both clusters for a moment, only the new one after " + millis(took) + "; never without an address", err
}

// restart kills an agent, changes its catalogue meanwhile, and checks that what
// stood stands until the next agent has taken over.
func (t *tour) restart(ctx context.Context, c *cluster) (string, error) {
	before, err := t.epoch(ctx, c)
	if err != nil {
		return "", err
	}
	if err := t.demo.processes.kill(c.name); err != nil {
		return "", err
	}
	if _, err := t.edit(c, func(all *catalog) { all.service("checkout").Instances[0].Version = "1.0.1" }); err != nil {
		return "", err
	}
	if a, err := ask.Ask(ctx, t.demo.options.DNS, "checkout.svc."+zone, "A"); err != nil || len(a.Data) != 3 {
		return "", fmt.Errorf("with the agent gone the answer should stand, but is %v %v", a.Data, err)
	}
	began := time.Now()
	if err := t.demo.startAgent(ctx, c); err != nil {
		return "", err
	}
	took, err := t.untilText(ctx, began, "checkout.svc."+zone, "cluster="+c.name, "1.0.1")
	if err != nil {
		return "", err
	}
	after, err := t.epoch(ctx, c)
	if err != nil {
		return "", err
	}
	if after <= before {
		return "", fmt.Errorf("the epoch went from %d to %d", before, after)
	}
	return fmt.Sprintf("nothing was withdrawn; the new agent took over (the dead one's lease lapses in 10 s) and DNS has the change after %s", millis(took)), nil
}

func (t *tour) epoch(ctx context.Context, c *cluster) (uint64, error) {
	states, err := t.demo.clusterStates(ctx)
	if err != nil {
		return 0, err
	}
	for _, state := range states {
		if state.Cluster == c.name {
			return state.Epoch, nil
		}
	}
	return 0, errors.New("global-dns does not know cluster " + c.name)
}

// request resolves by SRV, connects to what it says, and reads what an instance answers.
func (t *tour) request(ctx context.Context) (string, error) {
	a, err := ask.Ask(ctx, t.demo.options.DNS, "_http._tcp.checkout.svc."+zone, "SRV")
	if err != nil {
		return "", err
	}
	if len(a.Data) == 0 {
		return "", fmt.Errorf("no SRV record: %s", a.RCode)
	}
	fields := strings.Fields(a.Data[0]) // priority weight port target
	target, err := ask.Ask(ctx, t.demo.options.DNS, fields[3], "A")
	if err != nil {
		return "", err
	}
	if len(target.Data) == 0 {
		return "", fmt.Errorf("%s has no address: %s", fields[3], target.RCode)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(target.Data[0], fields[2])+"/", nil)
	if err != nil {
		return "", err
	}
	request.Host = "checkout.svc.mesh.internal"
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 1024))
	if err != nil {
		return "", err
	}
	if reply.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", reply.Status, body)
	}
	return fmt.Sprintf("%s:%s answered %q", target.Data[0], fields[2], strings.TrimSpace(string(body))), nil
}

// edit changes a catalogue and returns when it was saved.
func (t *tour) edit(c *cluster, change func(*catalog)) (time.Time, error) {
	all, err := c.read()
	if err != nil {
		return time.Time{}, err
	}
	change(&all)
	if err := c.write(all); err != nil {
		return time.Time{}, err
	}
	return time.Now(), nil
}

// until asks until the answer is exactly these data, in any order.
func (t *tour) until(ctx context.Context, began time.Time, name, rrtype string, want []string) (time.Duration, error) {
	slices.Sort(want)
	return t.poll(ctx, began, name, rrtype, fmt.Sprint(want), func(a ask.Answer) bool {
		slices.Sort(a.Data)
		return a.RCode == "NOERROR" && slices.Equal(a.Data, want)
	})
}

// untilText asks for TXT until one record has all these parts.
func (t *tour) untilText(ctx context.Context, began time.Time, name string, parts ...string) (time.Duration, error) {
	return t.poll(ctx, began, name, "TXT", fmt.Sprint(parts), func(a ask.Answer) bool {
		return slices.ContainsFunc(a.Data, func(record string) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(record, part) })
		})
	})
}

func (t *tour) poll(ctx context.Context, began time.Time, name, rrtype, want string, done func(ask.Answer) bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last ask.Answer
	var err error
	for {
		var a ask.Answer
		if a, err = ask.Ask(ctx, t.demo.options.DNS, name, rrtype); err == nil {
			if last = a; done(a) {
				return time.Since(began), nil
			}
		}
		timer := time.NewTimer(time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return 0, fmt.Errorf("%s %s should be %s, but is %s %v (%v)", name, rrtype, want, last.RCode, last.Data, err)
		case <-timer.C:
		}
	}
}

func (t *tour) gateways(clusters ...*cluster) []string {
	var addresses []string
	for _, c := range clusters {
		addresses = append(addresses, c.gateway.Addr().String())
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// service returns a service for editing, adding it when it is not there.
func (c *catalog) service(name string) *catalogService {
	for i := range c.Services {
		if c.Services[i].Name == name {
			return &c.Services[i]
		}
	}
	c.Services = append(c.Services, catalogService{Name: name})
	return &c.Services[len(c.Services)-1]
}

func (c *catalog) remove(name string) {
	c.Services = slices.DeleteFunc(c.Services, func(s catalogService) bool { return s.Name == name })
}

func (s *catalogService) health(h string) {
	for i := range s.Instances {
		s.Instances[i].Health = h
	}
}
