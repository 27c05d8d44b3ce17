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
