package registry

// DecodeWithJSON is Decode without the fast way: what encoding/json takes.
func DecodeWithJSON(body []byte) (*Event, error) {
	if len(body) > MaxBody {
		return nil, refuse("too-large", "a body of %d bytes, more than %d", len(body), MaxBody)
	}
	e, err := decodeAny(body)
	if err == nil {
		err = checkEvent(e)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// DecodesPlain reports whether a body is decoded without encoding/json.
func DecodesPlain(d *Decoder, body []byte) bool { return d.plain(body) != nil }

// Limit gives a Fold smaller bounds than the constants.
func (f *Fold) Limit(clusters, facts, held int) { f.limits = limits{clusters, facts, held} }

// Remembered counts the positions of facts that are no service, and the facts in quarantine.
func (f *Fold) Remembered() (others, unusable int) { return len(f.facts), len(f.quarantine) }
