// Package sourcetest is the conformance suite that every source of a registry passes.
//
// A source turns one registry into snapshots. The suite drives a real registry
// through a [Harness], which each adapter writes in its own tests, and holds the
// adapter's [Source] to its contract:
//
//	func TestConformance(t *testing.T) {
//		sourcetest.Run(t, harness{server: servers.Consul(t, servers.ConsulConfig{})})
//	}
//
// What passing promises: the first snapshot is complete; every kind of change is
// seen, and of many changes the last; a snapshot never lacks a service that the
// registry has, whatever fails; Read and Watch agree; a Watch ends promptly and
// leaves nothing behind; bad content disturbs only itself.
//
// What it does not: it measures no latency, and it knows nothing of what is
// special to one registry (rights, protect threshold, half-written files). The
// adapters' own tests do that.
package sourcetest
