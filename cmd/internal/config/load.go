package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Load fills shape, a pointer to a struct: first the defaults of its tags, then
// the file at path (none when path is ""), then the environment (as
// [os.Environ] gives it), then those of the flags made by [AddFlags] that were
// set (flags may be nil). It returns where everything came from and all that is
// wrong so far; what the values mean is for the caller to check and
// [Report.Add]. Of a field whose type is any, only the key is looked at: it is a
// section that belongs to someone else. Load reads one file and blocks no longer
// than that takes.
func Load(shape any, path string, environ []string, flags *pflag.FlagSet) *Report {
	r := &Report{file: path, origins: make(map[string]origin)}
	v := reflect.ValueOf(shape)
	setDefaults(v.Elem())
	if path != "" {
		r.readFile(path, v)
	}
	fields := leaves(v.Type().Elem(), nil, "")
	r.readEnvironment(v.Elem(), fields, environ)
	if flags != nil {
		r.readFlags(v.Elem(), fields, flags)
	}
	return r
}

// AddFlags declares a flag for every field of shape that one text can give. The
// help text is the field's help tag.
func AddFlags(flags *pflag.FlagSet, shape any) {
	for _, l := range leaves(reflect.TypeOf(shape).Elem(), nil, "") {
		if l.secret() {
			continue // everyone on the machine can read a command line
		}
		for n, name := range l.flags() {
			value := &flagValue{kind: l.kind(), list: l.list()}
			f := flags.VarPF(value, name, "", l.help)
			f.DefValue = l.value
			if l.kind() == "bool" {
				f.NoOptDefVal = "true"
			}
			f.Hidden = n > 0 && l.alias == "" || l.help == ""
		}
	}
}

// flagValue keeps what was written on the command line until the configuration
// is read, so that a flag's fault is told together with all others.
type flagValue struct {
	kind  string
	list  bool
	texts []string
}

func (f *flagValue) String() string { return strings.Join(f.texts, ",") }
func (f *flagValue) Type() string   { return f.kind }
func (f *flagValue) Set(text string) error {
	if !f.list {
		f.texts = f.texts[:0]
	}
	f.texts = append(f.texts, text)
	return nil
}

// leaf is a field that one text can give: a scalar, a list of scalars, or pairs.
type leaf struct {
	path  string
	index []int // of the field, through all sections
	typ   reflect.Type
	help  string
	value string // the default
	alias string // a second path by which flag and variable are known: nats.url
}

func leaves(t reflect.Type, index []int, path string) []leaf {
	var all []leaf
	for _, field := range fieldsOf(t) {
		at, name, typ := append(slices.Clone(index), field.Index...), join(path, field.key), field.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		scalars := typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map
		switch {
		case isScalar(typ) || scalars && isScalar(typ.Elem()):
			all = append(all, leaf{
				path: name, index: at, typ: typ, help: field.Tag.Get("help"),
				value: field.Tag.Get("default"), alias: field.Tag.Get("alias"),
			})
		case typ.Kind() == reflect.Struct:
			all = append(all, leaves(typ, at, name)...)
		}
	}
	return all
}

func (l leaf) secret() bool { return l.typ == secretType }
func (l leaf) list() bool   { return !isScalar(l.typ) }

// kind is what stands behind the flag in the help.
func (l leaf) kind() string {
	switch {
	case l.typ.Kind() == reflect.Map:
		return "pairs"
	case l.list():
		return "list"
	case l.typ == pathType:
		return "FILE"
	case l.typ == durationType || l.typ == reflect.TypeFor[Seconds]():
		return "duration"
	case l.typ == reflect.TypeFor[Size]():
		return "size"
	case l.typ.Kind() == reflect.Bool:
		return "bool"
	case l.typ.Kind() == reflect.Int:
		return "number"
	}
	return "text"
}

func (l leaf) paths() []string {
	if l.alias == "" {
		return []string{l.path}
	}
	return []string{l.path, l.alias}
}

func (l leaf) flags() []string {
	var names []string
	for _, path := range l.paths() {
		names = append(names, Flag(path))
	}
	return names
}

// set parses what stands at a place other than the file into the leaf.
func (l leaf) set(r *Report, root reflect.Value, place string, texts []string) {
	v := root
	for _, i := range l.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(newWithDefaults(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	var err error
	r.forget(l.path)
	r.origins[l.path] = origin{place: place}
	if l.list() {
		var parts []string
		for _, text := range texts {
			parts = append(parts, splitList(text)...)
		}
		err = setList(v, parts, "")
	} else {
		err = setScalar(v, texts[len(texts)-1], "")
	}
	if err != nil {
		r.add(r.origins[l.path], l.path, "%v", err)
	}
}

// forget drops where a field was given before, parts included.
func (r *Report) forget(field string) {
	for path := range r.origins {
		if within(path, field) {
			delete(r.origins, path)
		}
	}
}

// Flag returns the name of the flag, without dashes, that gives a field: nats-ca
// for nats.ca.
func Flag(field string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(field)
}

// Variable returns the name of the environment variable that gives a field:
// SEAMARK_NATS_CA for nats.ca.
func Variable(field string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(field, ".", "_"))
}

const prefix = "SEAMARK_"

func (r *Report) readEnvironment(root reflect.Value, fields []leaf, environ []string) {
	given := make(map[string]string)
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, prefix) && value != "" { // NAME= is how compose files say "not given"
			given[name] = value
		}
	}
	var known []string
	for _, l := range fields {
		place := ""
		for _, path := range l.paths() {
			name := Variable(path)
			known = append(known, name)
			value, ok := given[name]
			switch {
			case ok && place != "":
				r.add(origin{place: name}, l.path, "is also given as %s; keep one of the two", place)
			case ok:
				place = name
				l.set(r, root, name, []string{value})
			}
			delete(given, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) { // other programs have variables of this prefix too
		if near := nearest(strings.ToLower(name), lower(known)); near != "" && len(name) > len(prefix)+6 {
			r.add(origin{place: name}, "", "is not a variable of this program; did you mean %s?", strings.ToUpper(near))
		}
	}
}

func (r *Report) readFlags(root reflect.Value, fields []leaf, flags *pflag.FlagSet) {
	for _, l := range fields {
		place := ""
		for _, name := range l.flags() {
			f := flags.Lookup(name)
			if f == nil || !f.Changed {
				continue
			}
			value, ok := f.Value.(*flagValue)
			switch {
			case !ok:
			case place != "":
				r.add(origin{place: "--" + name}, l.path, "is also given as %s; keep one of the two", place)
			default:
				place = "--" + name
				l.set(r, root, place, value.texts)
			}
		}
	}
}

func lower(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = strings.ToLower(text)
	}
	return out
}

// Field describes one field of a configuration, for documentation.
type Field struct {
	Path     string // gateways.static[].weight
	Default  string // as it is written; "" = none
	Variable string // environment variable; "" = it can only be given in the file
	Flag     string // with dashes; "" = none
	Help     string
}

// Fields returns every field of shape, a pointer to a struct, in the order in which
// the struct has them; sections themselves are not among them.
func Fields(shape any) []Field {
	var fields []Field
	texts := make(map[string]leaf)
	t := reflect.TypeOf(shape).Elem()
	for _, l := range leaves(t, nil, "") {
		texts[l.path] = l
	}
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		for _, field := range fieldsOf(t) {
			name, typ := join(path, field.key), field.Type
			if typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct && !isScalar(typ.Elem()) {
				typ, name = typ.Elem(), name+"[]"
			}
			if typ.Kind() == reflect.Pointer {
				typ = typ.Elem()
			}
			if typ.Kind() == reflect.Struct && !isScalar(typ) {
				walk(typ, name)
				continue
			}
			f := Field{Path: name, Default: field.Tag.Get("default"), Help: field.Tag.Get("help")}
			if l, ok := texts[name]; ok {
				f.Variable = Variable(name)
				if !l.secret() {
					f.Flag = "--" + Flag(name)
				}
			}
			fields = append(fields, f)
		}
	}
	walk(t, "")
	return fields
}
