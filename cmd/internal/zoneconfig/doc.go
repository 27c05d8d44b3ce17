// Package zoneconfig is the zone section of a configuration: global-dns seeds the
// zone record with it, and the operator's command applies it.
//
// It promises that what it accepts is a valid zone record, and tells every fault
// with its place. It does not know what stands on the stream.
package zoneconfig
