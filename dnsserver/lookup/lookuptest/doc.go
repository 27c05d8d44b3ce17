// Package lookuptest builds Views for tests, from a few lines that say what
// clusters publish. It is for tests alone: mistakes panic.
package lookuptest
