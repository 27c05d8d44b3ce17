// Package ask puts one DNS question to one server, for the operator's command and
// for tests.
//
// It promises to ask over UDP with EDNS (RFC 6891), to ask again over TCP when the
// answer was truncated (RFC 7766), and to report the answer as text. It is no
// resolver: it follows nothing and caches nothing.
package ask
