package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
)

// NATS is the section of every daemon that says where the stream is.
type NATS struct {
	Servers     []string `yaml:"servers" default:"nats://127.0.0.1:4222" alias:"nats.url" help:"URLs of the NATS servers"`
	Credentials Path     `yaml:"credentials" help:"NATS credentials file (user JWT and seed)"`
	CA          Path     `yaml:"ca" help:"PEM file with the authorities that the NATS servers' certificates are checked against"`
	Cert        Path     `yaml:"cert" help:"PEM file with the client's certificate for NATS"`
	Key         Path     `yaml:"key" help:"PEM file with the key of the client's certificate for NATS"`
}

// Check adds to the report what is wrong with the section at field.
func (n NATS) Check(r *Report, field string) {
	if len(n.Servers) == 0 {
		r.Add(join(field, "servers"), "no server is given; write for example [nats://127.0.0.1:4222]")
	}
	for i, server := range n.Servers {
		at := fmt.Sprintf("%s.servers[%d]", field, i)
		u, err := url.Parse(server)
		switch {
		case err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Hostname() == "":
			r.Add(at, "this is no URL of a NATS server; write for example nats://127.0.0.1:4222 (or tls:, ws:, wss:)")
		case u.Path != "" && u.Path != "/" && u.Scheme != "ws" && u.Scheme != "wss" || u.RawQuery != "" || u.Fragment != "":
			r.Add(at, "%s has more than host and port; write for example nats://127.0.0.1:4222", clip(u.Redacted()))
		case u.User != nil && r.FromFlag(field+".servers"):
			r.Add(at, "a password on the command line can be read by everyone on this machine; use %s or a credentials file", Variable(field+".servers"))
		}
	}
	if (n.Cert == "") != (n.Key == "") {
		there, missing := "cert", "key"
		if n.Cert == "" {
			there, missing = missing, there
		}
		r.Add(join(field, there), "is given without %s; a client's certificate needs both", join(field, missing))
	}
}

// CheckListen adds to the report what is wrong with an address to listen on: a
// host or none, and a port (0 = any that is free).
func CheckListen(r *Report, field, address string) {
	if _, port, err := net.SplitHostPort(address); err != nil || !isPort(port) {
		r.Add(field, "%s is no address to listen on; write host:port, for example 127.0.0.1:8080", clip(address))
	}
}
