package stream

// InParts makes [History.Latest] read so many sequences at once, to begin with.
func (h *History) InParts(sequences uint64) *History {
	return &History{conn: h.conn, part: sequences}
}

// Matches is whether a subject matches a filter.
func Matches(filter, subject string) bool { return matches(filter, subject) }
