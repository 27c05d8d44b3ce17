package stream

// InParts makes [History.Latest] read so many sequences at once, to begin with.
func (h *History) InParts(sequences uint64) *History {
	return &History{conn: h.conn, part: sequences}
}
