package compile_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/dnsserver/packet"
	"github.com/seamark-mesh/seamark/registry"
)

const payload = 1232

// complete answers a packet as the complete path does.
func complete(v *registry.View, query []byte, turn uint32) []byte {
	q, err := packet.Parse(query)
	if err != nil {
		return nil
	}
	var response lookup.Response
	if q.RCode == dns.RcodeSuccess {
		response = lookup.Answer(v, lookup.Question{Name: q.Name, Type: q.Type, Class: q.Class})
	}
	limits := packet.Limits{Size: packet.MinUDP, Payload: payload, Turn: turn}
	if q.EDNS {
		limits.Size = min(max(int(q.Size), packet.MinUDP), payload)
	}
	var b packet.Builder
	message, _ := b.Build(make([]byte, packet.Room), &q, &response, limits)
	return message
}

// compare holds what the fast path says, if it says anything, to the complete path.
func compare(t rapid.TB, table *compile.Table, query []byte, turn uint32) (answered bool) {
	t.Helper()
	out := make([]byte, compile.Room)
	before := bytes.Clone(query)
	length, rcode := table.Reply(out, query, &compile.Terms{Payload: payload, Turn: turn})
	if !bytes.Equal(before, query) {
		t.Fatalf("the query %x was written to", before)
	}
	if length == 0 {
		return false
	}
	fast, slow := out[:length], complete(table.View(), query, turn)
	// Of two places that a compression pointer may lead to, either is right.
	if len(fast) != len(slow) || !bytes.Equal(fast, slow) && text(fast) != text(slow) {
		t.Fatalf("to %x\nfast:     %x\n%s\ncomplete: %x\n%s", query, fast, text(fast), slow, text(slow))
	}
	if rcode != int(fast[3]&0x0f) {
		t.Fatalf("the RCODE is told as %d, and is %d", rcode, fast[3]&0x0f)
	}
	return true
}

func text(message []byte) string {
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		return err.Error()
	}
	return m.String()
}

// question makes a query packet; options is what stands behind the question.
func question(name string, qtype uint16, options ...byte) []byte {
	b := make([]byte, 12, 300)
	b[0], b[1], b[2], b[5] = 0xca, 0xfe, 1, 1
	if len(options) > 0 {
		b[11] = 1
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, qtype)
	b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
	return append(b, options...)
}

// opt is an OPT record that takes size bytes, with DO when do is set.
func opt(size uint16, do bool) []byte {
	b := []byte{0, 0, byte(dns.TypeOPT), byte(size >> 8), byte(size), 0, 0, 0, 0, 0, 0}
	if do {
		b[7] = 0x80
	}
	return b
}

// universe returns names of every kind, there or not, with and without ports.
func universe() []string {
	var heads []string
	labels := []string{"default", "shop", "shop-x", "web", "a-b", "never"}
	for _, namespace := range labels {
		heads = append(heads, namespace+".svc")
		for _, name := range labels {
			heads = append(heads, name+"."+namespace+".svc")
			for _, cluster := range lookuptest.Clusters {
				heads = append(heads, name+"."+namespace+"."+string(cluster)+".cluster")
			}
		}
	}
	for _, cluster := range append(slices.Clip(lookuptest.Clusters), "never") {
		heads = append(heads, string(cluster)+".gw", string(cluster)+".cluster")
		for _, below := range []string{"gw-0", "gw-2", "gw-9"} {
			heads = append(heads, below+"."+string(cluster)+".gw")
		}
		for _, namespace := range labels {
			heads = append(heads, namespace+"."+string(cluster)+".cluster")
		}
	}
	heads = append(heads, "svc", "cluster", "gw", "", "a.dns", "dns", "other", "below.web.shop.svc", "a.b.c.d.e.f.svc")
	var all []string
	for _, head := range heads {
		for _, port := range []string{"", "_http._tcp.", "_443._tcp.", "_tcp.", "_x._udp.", "_services._dns-sd._udp.", "x._http._tcp.", "_8443._https."} {
			all = append(all, strings.TrimPrefix(port+head+".mesh.internal.", "."))
		}
	}
	return append(all, ".", "example.org.", "web.svc.example.org.", "svcmesh.internal.", "web.svc.mesh.internal.svc.mesh.internal.")
}

// TestSameAsCompletePath takes tables through random histories, in random steps, and
// compares whatever the fast path says with the complete path.
func TestSameAsCompletePath(t *testing.T) {
	t.Parallel()
	every := universe()
	asked, answered := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		history := lookuptest.Draw(t, true).Messages()
		fold := registry.NewFold()
		fold.Synced()
		var store registry.Store
		watcher, compiler := store.Watch(), compile.NewCompiler()
		var older []*compile.Table
		for len(history) > 0 {
			step := rapid.IntRange(1, len(history)).Draw(t, "step")
			for _, m := range history[:step] {
				fold.Apply(m)
			}
			history = history[step:]
			view := fold.View()
			store.Publish(view)
			if rapid.IntRange(0, 4).Draw(t, "cut off") == 0 {
				store.Publish(view.CutOff(registry.Cut{Since: time.Unix(1_800_000_000, 0), Reason: "a test"}))
			}
			v, delta, _ := watcher.Poll()
			table := compiler.Update(v, delta)
			if table.View() != v {
				t.Fatal("the table is of another View")
			}
			var options []byte
			if rapid.Bool().Draw(t, "EDNS") {
				options = opt(1232, false)
			}
			asking := every
			if rapid.IntRange(0, 9).Draw(t, "all") > 0 { // all of them once in a while
				from := rapid.IntRange(0, len(every)-1).Draw(t, "from")
				asking = every[from:min(len(every), from+300)]
			}
			for _, name := range asking {
				for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeTXT, dns.TypePTR} {
					asked++
					if compare(t, table, question(name, qtype, options...), 0) {
						answered++
					}
				}
			}
			older = append(older, table)
		}
		for _, table := range older { // later updates must not have touched them
			for range 20 {
				name := rapid.SampledFrom(every).Draw(t, "name")
				compare(t, table, question(name, dns.TypeA, opt(1232, false)...), rapid.Uint32().Draw(t, "turn"))
			}
		}
	})
	if share := float64(answered) / float64(asked); share < 0.15 {
		t.Errorf("the fast path answered %.0f %% only", 100*share)
	}
}

// TestFastPathAnswersWhatIsAskedMost names what must not go the complete path.
func TestFastPathAnswersWhatIsAskedMost(t *testing.T) {
	t.Parallel()
	table := tableOf(lookuptest.Harbours().View())
	for _, name := range []string{
		"web.shop.svc.mesh.internal.", "wEb.shOP.svc.MESH.internal.", "cart.shop.svc.mesh.internal.", "login.svc.mesh.internal.", "login.default.svc.mesh.internal.",
		"web.shop.amber.cluster.mesh.internal.", "web.shop.cobalt.cluster.mesh.internal.", "amber.gw.mesh.internal.", "west.amber.gw.mesh.internal.",
		"cobalt.gw.mesh.internal.", "lab.svc.mesh.internal.", "svc.mesh.internal.", "never.shop.svc.mesh.internal.", "below.web.shop.svc.mesh.internal.",
		"big-name.lab.svc.mesh.internal.", "_http._tcp.web.shop.svc.mesh.internal.", "_8080._tcp.west.amber.gw.mesh.internal.", "_http._tcp.never.svc.mesh.internal.",
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB} {
			if strings.HasPrefix(name, "_") && qtype > dns.TypeSRV {
				continue
			}
			for _, options := range [][]byte{nil, opt(4096, false), opt(1232, true), opt(0, false)} {
				if !compare(t, table, question(name, qtype, options...), 7) {
					t.Errorf("%s %s with %x goes the complete path", name, dns.TypeToString[qtype], options)
				}
			}
		}
	}
}

func tableOf(v *registry.View) *compile.Table {
	return compile.NewCompiler().Update(v, registry.Delta{All: true})
}

// TestNotSynced leaves all to the complete path until the View can be trusted.
func TestNotSynced(t *testing.T) {
	t.Parallel()
	var nothing compile.Table
	unsynced := compile.NewCompiler().Update(registry.NewFold().View(), registry.Delta{All: true})
	for _, table := range []*compile.Table{&nothing, unsynced} {
		if compare(t, table, question("web.shop.svc.mesh.internal.", dns.TypeA), 0) {
			t.Error("answered from a View that is not synced")
		}
	}
}

// TestReplyAllocatesNothing is the guard of the fast path's first promise.
func TestReplyAllocatesNothing(t *testing.T) {
	table := tableOf(lookuptest.Harbours().View())
	out := make([]byte, compile.Room)
	for _, query := range [][]byte{
		question("web.shop.svc.mesh.internal.", dns.TypeA, opt(1232, false)...),
		question("_http._tcp.web.shop.svc.mesh.internal.", dns.TypeSRV, opt(1232, false)...),
		question("never.shop.svc.mesh.internal.", dns.TypeA),
		question("web.shop.svc.mesh.internal.", dns.TypeTXT), // goes the complete path
	} {
		terms := compile.Terms{Payload: payload}
		if n := testing.AllocsPerRun(100, func() { table.Reply(out, query, &terms) }); n != 0 {
			t.Errorf("%x: %v allocations", query, n)
		}
	}
}

// TestLabelThatHoldsTheZone: the bytes of the zone's name within a longer label do not
// make a name of the zone.
func TestLabelThatHoldsTheZone(t *testing.T) {
	t.Parallel()
	table := tableOf(lookuptest.Harbours().View())
	zone := "\x04mesh\x08internal"
	for _, head := range []string{"\x0e", "\x0f_", "\x10ab", "\x03svc\x0e", "\x04_tcp\x0e", "\x3f"} {
		query := append(make([]byte, 12), head+zone+"\x00\x00\x01\x00\x01"...)
		query[5] = 1
		if compare(t, table, query, 0) {
			t.Errorf("%q is answered", head)
		}
	}
}

// FuzzReply feeds packets to both paths.
func FuzzReply(f *testing.F) {
	table := tableOf(lookuptest.Harbours().View())
	for _, name := range []string{"web.shop.svc.mesh.internal.", "_http._tcp.web.shop.svc.mesh.internal.", "never.svc.mesh.internal.", "amber.gw.mesh.internal."} {
		for _, options := range [][]byte{nil, opt(512, false), opt(4096, true)} {
			f.Add(question(name, dns.TypeA, options...), uint32(1))
			f.Add(question(name, dns.TypeSRV, options...), uint32(2))
		}
	}
	f.Add(slices.Concat(question("web.shop.svc.mesh.internal.", dns.TypeAAAA, opt(1232, false)...), []byte{0}), uint32(0))
	f.Fuzz(func(t *testing.T, query []byte, turn uint32) { compare(t, table, query, turn) })
}
