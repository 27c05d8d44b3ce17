package config

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// Hidden stands in a [Description] for what others must not read: secrets, and fields
// whose tag is private:"true".
const Hidden = "(not shown)"

// Description is a configuration as the history may tell it: what each field says that
// says something, by its path. It is immutable.
type Description struct {
	fields   map[string]string
	revision string
}

// Describe describes a configuration: a struct with yaml tags, or a pointer to one.
// What is not given has its default, and is told like that.
func Describe(c any) Description {
	d := Description{fields: map[string]string{}}
	sum := sha256.New()
	describe(reflect.ValueOf(c), "", false, func(path, text string, private bool) {
		fmt.Fprintf(sum, "%q=%q\n", path, text)
		if private {
			text = Hidden
		}
		d.fields[path] = text
	})
	d.revision = hex.EncodeToString(sum.Sum(nil))[:12]
	return d
}

// Revision is the same for configurations that say the same, but for secrets: 12
// hexadecimal digits; "" for the zero Description.
func (d Description) Revision() string { return d.revision }

// Fields returns a copy: what each field says, as text.
func (d Description) Fields() map[string]string { return maps.Clone(d.fields) }

// describe calls tell for each value in a fixed order.
func describe(v reflect.Value, path string, private bool, tell func(path, text string, private bool)) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if v.IsZero() {
		return
	}
	switch {
	case isScalar(v.Type()):
		tell(path, scalarText(v), private || v.Type() == secretType)
	case v.Kind() == reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			describe(v.FieldByIndex(f.Index), join(path, f.key), private || f.private, tell)
		}
	case v.Kind() == reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		if private { // the keys are not for others, either
			tell(path, fmt.Sprint(v.Interface()), true)
			return
		}
		for _, k := range keys {
			describe(v.MapIndex(k), join(path, k.String()), private, tell)
		}
	case v.Kind() == reflect.Slice:
		var texts []string
		for n := range v.Len() {
			if isScalar(v.Type().Elem()) {
				texts = append(texts, scalarText(v.Index(n)))
				continue
			}
			describe(v.Index(n), fmt.Sprintf("%s[%d]", path, n), private, tell)
		}
		if texts != nil {
			tell(path, "["+strings.Join(texts, ", ")+"]", private)
		}
	}
}

// scalarText writes one value; a password within a URL is left out.
func scalarText(v reflect.Value) string {
	if t, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		if text, err := t.MarshalText(); err == nil {
			return string(text)
		}
	}
	text := fmt.Sprint(v.Interface())
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}
