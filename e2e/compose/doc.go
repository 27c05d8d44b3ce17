// Package compose tests the docker-compose.yml of the repository on a real docker engine: three clusters on networks of
// their own, and a client that knows nothing but its resolver.
//
// No image is pulled. The file override.yml replaces the images that docker-compose.yml names by stand-ins, built FROM
// scratch out of the same programs: Consul, Nacos and NATS as [github.com/seamark-mesh/seamark/e2e/servers] builds them,
// Caddy from the Go module in caddy/, Debian's busybox-static for the client. All else, networks, configurations, commands
// and this repository's own Dockerfile, is what users run. In that Dockerfile's build stage a stand-in for the Go image
// has a program go that hands over binaries which were built outside.
//
// The engine is the one that the docker client finds. Where none answers and the test is root on Linux, it starts a
// dockerd of its own in namespaces of its own: its networks, firewall rules, mounts and containers end with it, however the test
// ends. Where neither can be had the test is skipped and recorded as servers.Need does, under the name docker.
//
// What it does not show: that the official images take the same configuration. Their entry points were read for it, not run.
package compose
