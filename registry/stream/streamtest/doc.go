// Package streamtest starts NATS servers with JetStream inside a test, and puts
// faults between them and their clients. It is for tests only.
//
// It promises that everything it starts ends with the test, and that its servers
// listen on 127.0.0.1 at a port of their own. It does not promise that a server
// which is shut down behaves like one that is killed: for that take a process of
// its own (package servers).
package streamtest
