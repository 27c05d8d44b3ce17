// Package servers runs real Consul, Nacos and NATS servers for tests.
//
// Each server is a process of its own, built from published sources and not downloaded as a binary: Consul by the Go
// module in consul/, Nacos by the Maven project in nacos/, the NATS server from the version that Seamark's own go.mod
// names. A build takes minutes the first time; its result stays in a cache outside the tree (see [Build]), and the
// command e2e/servers/cmd/prepare fills that cache ahead of the tests.
//
// A test asks for a server and gets one that answers:
//
//	consul := servers.Consul(t, servers.ConsulConfig{TLS: true})
//	client, err := api.NewClient(&api.Config{Address: consul.HTTP})
//	…
//	consul.Kill()               // kill -9: clients see what a crash looks like
//	consul.Start(t.Context())   // same ports, same data
//
// It ends with the test. Where a start is too dear for every test (Nacos: more than ten seconds), [Share] starts one
// for all tests of a package at the first that asks. [StartConsul], [StartNacos] and [StartNATS] know nothing of tests.
//
// What the package promises:
//   - A server that was returned has answered a request, and its log says that it was this process which did.
//   - Servers listen on 127.0.0.1, on ports below the range that the kernel gives to outgoing connections, so nothing
//     takes the port of a stopped server by accident. Nacos listens on its gRPC and raft ports on all addresses.
//   - On Linux a server dies with the process that started it, however that ends.
//   - A test that could not run because a server cannot be had here is skipped and recorded, never silently: see [Need].
//
// What it does not: it does not isolate tests that share a server (name services and streams apart), and it runs on
// Unix only. While a server runs, one goroutine of this package waits for it; a test that looks for leaked goroutines
// with a shared server up passes goleak.IgnoreCurrent.
package servers
