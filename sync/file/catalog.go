package file

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/registry"
)

// Bounds of a catalog.
const (
	MaxFile   = 16 << 20  // bytes
	maxNodes  = 2_000_000 // YAML values, those that aliases repeat counted each time
	maxFaults = 20        // that are told of one file
)

// Fault is one thing that makes a catalog invalid as a whole.
type Fault struct {
	Line   int    // from 1; 0 when it has none
	Column int    // from 1; 0 when it has none
	Field  string // services[0].instances[1].port; "" for the file
	Detail string // what is wrong and what would be right
}

// InvalidError says why a catalog can't be used: faults of form, at least one.
type InvalidError struct {
	Path   string
	Faults []Fault
}

// Error gives the first fault with file, line and field, and counts the others.
func (e *InvalidError) Error() string {
	f := e.Faults[0]
	text := e.Path
	if f.Line > 0 {
		text += ":" + strconv.Itoa(f.Line)
	}
	if f.Column > 0 {
		text += ":" + strconv.Itoa(f.Column)
	}
	if f.Field != "" {
		text += ": " + f.Field
	}
	text += ": " + f.Detail
	if more := len(e.Faults) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// catalog is a file that was understood.
type catalog struct {
	services []registry.Service
	refused  []*registry.Refusal
}

// parseCatalog understands the file or tells all that is wrong with it.
func parseCatalog(body []byte) (catalog, []Fault) {
	root, err := ParseYAML(body)
	if syntax, ok := errors.AsType[*SyntaxError](err); ok {
		return catalog{}, []Fault{{Line: syntax.Line, Detail: syntax.Detail}}
	}
	if root == nil {
		return catalog{}, []Fault{{Detail: "the file is empty; an empty catalog is written services: []"}}
	}
	d := &decoder{first: make(map[registry.ServiceKey]int)}
	d.root(root)
	if len(d.faults) > 0 {
		return catalog{}, d.faults
	}
	return d.catalog, nil
}

// decoder walks the tree; it goes on after a fault, so that all are told.
type decoder struct {
	catalog catalog
	first   map[registry.ServiceKey]int // line in which a key was given first
	faults  []Fault
	nodes   int
}

func (d *decoder) fault(n *yaml.Node, field, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, Fault{Line: n.Line, Column: n.Column, Field: fmt.Sprintf("%.128s", field), Detail: fmt.Sprintf(format, args...)})
	}
}

// open follows an alias and counts the value; nil when there were too many.
func (d *decoder) open(n *yaml.Node, field string) *yaml.Node {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fault(n, field, "the file expands to more than %d values; write them without aliases", maxNodes)
		}
		return nil
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func (d *decoder) root(n *yaml.Node) {
	given := false
	d.section(n, "", map[string]func(*yaml.Node, string){
		"services": func(n *yaml.Node, field string) {
			given = true
			d.list(n, field, d.service)
		},
	})
	if !given && len(d.faults) == 0 {
		d.fault(n, "services", "is missing; an empty catalog is written services: []")
	}
}

func (d *decoder) service(n *yaml.Node, field string) {
	var namespace, name string
	var instances []registry.Instance
	before := len(d.faults)
	d.section(n, field, map[string]func(*yaml.Node, string){
		"name":      d.text(&name),
		"namespace": d.text(&namespace),
		"instances": func(n *yaml.Node, field string) {
			d.list(n, field, func(n *yaml.Node, field string) {
				if i, ok := d.instance(n, field); ok {
					instances = append(instances, i)
				}
			})
		},
	})
	if len(d.faults) > before {
		return
	}
	s, refused, ok := registry.CleanService(namespace, name, instances)
	for _, r := range refused {
		d.refuse(n, field, r)
	}
	if !ok {
		return
	}
	if line, twice := d.first[s.Key]; twice {
		d.refuse(n, field, &registry.Refusal{Reason: "service-duplicate", Detail: fmt.Sprintf("%s is given twice, first in line %d: the first stands", s.Key, line)})
		return
	}
	d.first[s.Key] = n.Line
	d.catalog.services = append(d.catalog.services, s)
}

// refuse notes what did not pass the door; the rest of the catalog stands.
func (d *decoder) refuse(n *yaml.Node, field string, r *registry.Refusal) {
	d.catalog.refused = append(d.catalog.refused, &registry.Refusal{
		Reason: r.Reason, Detail: fmt.Sprintf("line %d: %s: %s", n.Line, field, r.Detail),
	})
}

func (d *decoder) instance(n *yaml.Node, field string) (i registry.Instance, ok bool) {
	i.Weight = 1
	health := ""
	before := len(d.faults)
	d.section(n, field, map[string]func(*yaml.Node, string){
		"id":      d.text(&i.ID),
		"address": d.text(&i.Address),
		"port":    d.number(&i.Port),
		"weight":  d.number(&i.Weight),
		"health":  d.text(&health),
		"version": d.text(&i.Version),
		"meta":    d.texts(&i.Meta),
	})
	if len(d.faults) > before {
		return i, false
	}
	var err error
	if i.Health, err = registry.ParseHealth(health); err != nil {
		if r, ok := errors.AsType[*registry.Refusal](err); ok {
			d.refuse(n, field, r)
		}
		return i, false
	}
	if i.ID == "" && i.Address != "" {
		i.ID = net.JoinHostPort(i.Address, strconv.Itoa(i.Port))
	}
	return i, true
}

// section calls the function of each key; unknown and repeated keys are faults.
func (d *decoder) section(n *yaml.Node, field string, fields map[string]func(*yaml.Node, string)) {
	d.pairs(n, field, func(key, value *yaml.Node) {
		f, ok := fields[key.Value]
		at := field + "." + key.Value
		if field == "" {
			at = key.Value
		}
		if !ok {
			var known []string
			for k := range fields {
				known = append(known, k)
			}
			slices.Sort(known)
			d.fault(key, field, "unknown key %.64q; the keys here are %s", key.Value, strings.Join(known, ", "))
			return
		}
		f(value, at)
	})
}

func (d *decoder) pairs(n *yaml.Node, field string, f func(key, value *yaml.Node)) {
	if n = d.open(n, field); n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, field, "%s stands where keys with values belong", kind(n))
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := d.open(n.Content[i], field)
		switch {
		case key == nil:
			return
		case key.Kind != yaml.ScalarNode:
			d.fault(key, field, "%s can't be a key", kind(key))
		case key.ShortTag() == "!!merge":
			d.fault(key, field, "the merge key << is not supported; write the values out")
		case lines[key.Value] > 0:
			d.fault(key, field, "key %.64q is given twice, first in line %d", key.Value, lines[key.Value])
		default:
			lines[key.Value] = key.Line
			f(key, n.Content[i+1])
		}
	}
}

func (d *decoder) list(n *yaml.Node, field string, f func(*yaml.Node, string)) {
	if n = d.open(n, field); n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fault(n, field, "%s stands where a list belongs; an empty one is written []", kind(n))
		return
	}
	for i, element := range n.Content {
		if d.nodes > maxNodes {
			return
		}
		f(element, field+"["+strconv.Itoa(i)+"]")
	}
}

// scalar returns the text of a plain value, as it is written.
func (d *decoder) scalar(n *yaml.Node, field string) (text string, ok bool) {
	if n = d.open(n, field); n == nil {
		return "", false
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		d.fault(n, field, "%s stands where one value belongs", kind(n))
		return "", false
	case n.Style&yaml.TaggedStyle != 0:
		d.fault(n, field, "the tag %.64q is not supported; write the plain value", n.Tag)
		return "", false
	case n.ShortTag() == "!!null":
		d.fault(n, field, "has no value; give it one or take the key out")
		return "", false
	}
	return n.Value, true
}

func (d *decoder) text(into *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, field string) {
		if text, ok := d.scalar(n, field); ok {
			*into = text
		}
	}
}

func (d *decoder) number(into *int) func(*yaml.Node, string) {
	return func(n *yaml.Node, field string) {
		text, ok := d.scalar(n, field)
		if !ok {
			return
		}
		number, err := strconv.Atoi(text)
		if err != nil {
			d.fault(n, field, "%.64q is no whole number", text)
			return
		}
		*into = number
	}
}

func (d *decoder) texts(into *map[string]string) func(*yaml.Node, string) {
	return func(n *yaml.Node, field string) {
		all := make(map[string]string)
		d.pairs(n, field, func(key, value *yaml.Node) {
			if text, ok := d.scalar(value, field+"."+key.Value); ok {
				all[key.Value] = text
			}
		})
		*into = all
	}
}

func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	}
	return fmt.Sprintf("%.64q", n.Value)
}
