package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/sync/file"
)

// Bounds of a configuration file.
const (
	MaxFile  = 1 << 20 // bytes
	MaxDepth = 24      // nested sections and lists
	MaxNodes = 100_000 // values, those that aliases repeat counted each time
)

// decoder walks one YAML document along the shape of a struct.
type decoder struct {
	report *Report
	shape  reflect.Type // of the whole configuration, to find where a key belongs
	base   string       // directory that relative paths start from
	nodes  int
}

// readFile decodes the file into shape, a pointer to a struct.
func (r *Report) readFile(path string, shape reflect.Value) {
	body, err := readBounded(path)
	if err != nil {
		r.add(origin{place: path}, "", "%v", err)
		return
	}
	r.readBody(body, filepath.Dir(path), shape)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if why, ok := errors.AsType[*os.PathError](err); ok {
			err = why.Err
		}
		return nil, fmt.Errorf("can't be read: %w; name the configuration with --config FILE", err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	if len(body) > MaxFile {
		return nil, fmt.Errorf("is larger than %d bytes, so it is no configuration", MaxFile)
	}
	return body, nil
}

func (r *Report) readBody(body []byte, base string, shape reflect.Value) {
	root, err := file.ParseYAML(body)
	if syntax, ok := errors.AsType[*file.SyntaxError](err); ok {
		r.add(origin{place: r.file, line: syntax.Line}, "", "%s", syntax.Detail)
		return
	}
	if root == nil {
		return // an empty file: all is missing, which is said field by field
	}
	d := &decoder{report: r, shape: shape.Type().Elem(), base: base}
	d.value(root, "", shape.Elem(), 0)
}

// value decodes n into v. What is wrong is added to the report; v keeps what it had.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value, depth int) {
	if d.nodes++; d.nodes == MaxNodes+1 {
		d.fault(n, path, "the file expands to more than %d values; write them without aliases", MaxNodes)
	}
	if d.nodes > MaxNodes {
		return
	}
	if depth > MaxDepth {
		d.fault(n, path, "nested deeper than %d levels", MaxDepth)
		return
	}
	if n.Kind == yaml.AliasNode {
		d.value(n.Alias, path, v, depth+1)
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fault(n, path, "the tag %s is not supported; write the plain value", clip(n.Tag))
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // "key:" without a value is a key that was not given
	}
	if path != "" {
		d.report.origins[path] = origin{d.report.file, n.Line, n.Column}
	}
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(newWithDefaults(t.Elem()))
		}
		d.value(n, path, v.Elem(), depth)
	case isScalar(t):
		d.scalar(n, path, v)
	case t.Kind() == reflect.Struct:
		d.section(n, path, v, depth)
	case t.Kind() == reflect.Map:
		d.pairs(n, path, v, depth)
	case t.Kind() == reflect.Slice:
		d.list(n, path, v, depth)
	}
}

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	d.report.add(origin{d.report.file, n.Line, n.Column}, path, format, args...)
}

func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "%s stands where one value belongs", kindName(n))
		return
	}
	if v.Type() == secretType {
		d.fault(n, path, "a secret does not belong in the configuration; give it as %s, or name a file that holds it in %s_file", Variable(path), path)
		return
	}
	if err := setScalar(v, n.Value, d.base); err != nil {
		d.fault(n, path, "%v", err)
	}
}

func (d *decoder) section(n *yaml.Node, path string, v reflect.Value, depth int) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "%s stands where a section belongs; its keys are %s", kindName(n), strings.Join(keysOf(v.Type()), ", "))
		return
	}
	for key, value := range d.entries(n, path) {
		index := fieldNamed(v.Type(), key.Value)
		if index == nil {
			d.fault(key, join(path, short(key.Value)), "%s", d.unknown(key.Value, path, v.Type()))
			continue
		}
		d.value(value, join(path, key.Value), v.FieldByIndex(index), depth+1)
	}
}

func (d *decoder) pairs(n *yaml.Node, path string, v reflect.Value, depth int) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "%s stands where pairs belong; write for example {key: value}", kindName(n))
		return
	}
	m := reflect.MakeMap(v.Type())
	for key, value := range d.entries(n, path) {
		element := newWithDefaults(v.Type().Elem()).Elem()
		d.value(value, join(path, short(key.Value)), element, depth+1)
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), element)
	}
	v.Set(m)
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value, depth int) {
	if n.Kind != yaml.SequenceNode {
		example := "[…]"
		if n.Kind == yaml.ScalarNode && isScalar(v.Type().Elem()) {
			example = "[" + clip(n.Value) + "]"
		}
		d.fault(n, path, "%s stands where a list belongs; write %s", kindName(n), example)
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), 1024))
	for i, child := range n.Content {
		if child.Kind == yaml.ScalarNode && child.ShortTag() == "!!null" {
			d.fault(child, path+"["+strconv.Itoa(i)+"]", "is empty; take it out or give it a value")
			continue
		}
		element := newWithDefaults(v.Type().Elem()).Elem()
		d.value(child, path+"["+strconv.Itoa(i)+"]", element, depth+1)
		if list = reflect.Append(list, element); d.nodes > MaxNodes {
			break
		}
	}
	v.Set(list)
}

// entries yields the keys and values of a mapping, without keys that are no
// plain text or that were given before.
func (d *decoder) entries(n *yaml.Node, path string) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		lines := make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content) && d.nodes <= MaxNodes; i += 2 {
			key := n.Content[i]
			if key.Kind == yaml.AliasNode {
				key = key.Alias
			}
			first, twice := lines[key.Value]
			switch {
			case key.Kind != yaml.ScalarNode:
				d.fault(n.Content[i], path, "%s can't be a key", kindName(key))
			case key.ShortTag() == "!!merge":
				d.fault(n.Content[i], path, "the merge key << is not supported; write the values out")
			case twice:
				d.fault(n.Content[i], join(path, short(key.Value)), "is given twice, first in line %d", first)
			default:
				lines[key.Value] = key.Line
				if !yield(key, n.Content[i+1]) {
					return
				}
			}
		}
	}
}

// unknown says what a key that does not exist was probably meant to be.
func (d *decoder) unknown(key, path string, section reflect.Type) string {
	known := keysOf(section)
	if near := nearest(key, known); near != "" {
		return fmt.Sprintf("unknown key; did you mean %s?", near)
	}
	for _, place := range pathsOf(d.shape, "") {
		if place == key || strings.HasSuffix(place, "."+key) {
			return fmt.Sprintf("unknown key here; did you mean %s?", place)
		}
	}
	if path == "" {
		return "unknown key; the keys are " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("unknown key; the keys of %s are %s", path, strings.Join(known, ", "))
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	return clip(n.Value)
}

// short makes a key from the file fit to stand in a path.
func short(key string) string {
	return strings.Trim(clip(key), `"`)
}

// newWithDefaults returns a pointer to a new value of the type with its defaults.
func newWithDefaults(t reflect.Type) reflect.Value {
	v := reflect.New(t)
	setDefaults(v.Elem())
	return v
}

// setDefaults fills v from the default tags; optional sections stay nil.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct || isScalar(v.Type()) {
		return
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		text, ok := field.Tag.Lookup("default")
		switch {
		case ok && isScalar(field.Type):
			_ = setScalar(v.Field(i), text, "") // a test holds every tag to its type
		case ok:
			_ = setList(v.Field(i), splitList(text), "")
		default:
			setDefaults(v.Field(i))
		}
	}
}

// fieldNamed returns the index of a field; nil when there is none of that name.
func fieldNamed(t reflect.Type, key string) []int {
	for _, f := range fieldsOf(t) {
		if f.key == key {
			return f.Index
		}
	}
	return nil
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		keys = append(keys, f.key)
	}
	return keys
}

// pathsOf returns the path of every field, sections included, shortest first.
func pathsOf(t reflect.Type, path string) []string {
	paths := map[string]bool{}
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && !isScalar(t) {
			if t.Kind() == reflect.Slice && !isScalar(t.Elem()) {
				path += "[]"
			}
			t = t.Elem()
		}
		if path != "" {
			paths[path] = true
		}
		if t.Kind() == reflect.Struct && !isScalar(t) {
			for _, f := range fieldsOf(t) {
				walk(f.Type, join(path, f.key))
			}
		}
	}
	walk(t, path)
	return slices.SortedFunc(maps.Keys(paths), func(a, b string) int {
		if n := strings.Count(a, ".") - strings.Count(b, "."); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
}
