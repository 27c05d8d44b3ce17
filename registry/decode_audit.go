package registry

import "time"

// changes reads the audit part of a service's event.
func (d *Decoder) changes() *Changes {
	var seen uint32
	c := &Changes{}
	d.open('{')
	for n := 0; d.more(n, '}'); n++ {
		switch string(d.key()) {
		case "added":
			d.once(&seen, 0)
			c.Added = d.texts()
		case "removed":
			d.once(&seen, 1)
			c.Removed = d.texts()
		case "changed":
			d.once(&seen, 2)
			c.Changed = []InstanceChange{}
			d.open('[')
			for n := 0; d.more(n, ']'); n++ {
				c.Changed = append(c.Changed, d.instanceChange())
			}
		default:
			d.skip()
		}
	}
	return c
}

func (d *Decoder) instanceChange() (c InstanceChange) {
	var seen uint32
	d.open('{')
	for n := 0; d.more(n, '}'); n++ {
		switch string(d.key()) {
		case "id":
			d.once(&seen, 0)
			c.ID = string(d.text())
		case "fields":
			d.once(&seen, 1)
			c.Fields = d.texts()
		default:
			d.skip()
		}
	}
	return c
}

func (d *Decoder) texts() []string {
	all := []string{}
	d.open('[')
	for n := 0; d.more(n, ']'); n++ {
		all = append(all, d.intern())
	}
	return all
}

func (d *Decoder) stamp() (s Stamp) {
	var seen uint32
	d.open('{')
	for n := 0; d.more(n, '}'); n++ {
		switch string(d.key()) {
		case "epoch":
			d.once(&seen, 0)
			s.Epoch = d.number()
		case "revision":
			d.once(&seen, 1)
			s.Revision = d.number()
		case "time":
			d.once(&seen, 2)
			d.time(&s.Time)
		default:
			d.skip()
		}
	}
	return s
}

// time reads a time (RFC 3339).
func (d *Decoder) time(t *time.Time) {
	raw, plain := d.quoted()
	if d.bad || !plain || t.UnmarshalText(raw) != nil {
		d.fail()
	}
}
