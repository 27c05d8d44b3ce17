// Command edge-sync is the agent of one cluster. It watches the cluster's registry
// (Consul, Nacos or a file) and publishes what changes to the mesh's stream.
//
// This package only reads the configuration and joins the parts; what is decided,
// package edge decides.
package main
