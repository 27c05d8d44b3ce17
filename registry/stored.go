package registry

import "time"

// Stored is one message of the history as the stream keeps it, not yet understood:
// what is read from a stream, an archive or an export before anybody decides
// whether it means something. Whoever is given one may keep it and must not change it.
type Stored struct {
	Sequence uint64              // in the stream
	Time     time.Time           // when it was stored, by the stream's clock
	Subject  string              // with the tokens encoded
	Header   map[string][]string // as written, names not canonicalised
	Body     []byte              // as written, perhaps compressed (Content-Encoding)

	Refused error // why its reader does not believe it (it is not signed, for example), whatever it says; nil: nothing speaks against it
}
