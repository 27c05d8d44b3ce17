// Command global-dns answers DNS for the whole mesh. It reads the mesh's stream
// into one registry and is the authority for the zone made of it.
//
// This package only reads the configuration and joins the parts; what is decided,
// packages registry and dnsserver decide.
package main
