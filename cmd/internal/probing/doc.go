// Package probing joins the probes of gateways to a daemon: the section of the
// configuration, the name of the vantage point, the metrics, and the way to the stream.
//
// It promises that what goes wrong with probes ends no daemon: without the rights that
// they need, the daemon goes on without them and says once what is missing. It decides
// nothing; package probe does.
package probing
