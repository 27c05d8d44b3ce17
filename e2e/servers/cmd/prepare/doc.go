// Command prepare builds the servers that the tests run, so that no test has to wait minutes for one.
//
//	go run ./e2e/servers/cmd/prepare [name…]
//
// Without names it prepares all: nats, nacos and consul. It shows what it does and for how long on standard error. A
// server that cannot be had is named there together with what would enable it; its tests will be recorded as not run.
//
// It exits with 0 even then, with 1 if SEAMARK_REQUIRE (a list by comma, or "all") asks for such a server or something
// else went wrong, and with 2 if a name is unknown.
package main
