package compile

// SetLimit changes the bound of the compiled answers, in bytes.
func (c *Compiler) SetLimit(bytes int) { c.limit = bytes }
