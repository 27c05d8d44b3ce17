package compile

// SharedShards counts the parts of the table of names that two Tables have in common.
func (t *Table) SharedShards(other *Table) (count int) {
	for n := range t.shards {
		if t.shards[n] != nil && t.shards[n] == other.shards[n] {
			count++
		}
	}
	return count
}

// SetLimit changes the bound of the compiled answers, in bytes.
func (c *Compiler) SetLimit(bytes int) { c.limit = bytes }
