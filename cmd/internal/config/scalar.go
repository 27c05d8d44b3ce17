package config

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Seconds is a duration in whole seconds, as DNS counts its times to live. It is
// written with a unit: 5s, 2m.
type Seconds int

// UnmarshalText reads a duration that is a whole number of seconds.
func (s *Seconds) UnmarshalText(text []byte) error {
	d, err := parseDuration(string(text))
	if err != nil {
		return err
	}
	if d%time.Second != 0 || d < 0 || d/time.Second > math.MaxInt32 {
		return fmt.Errorf("%s is not a whole number of seconds; write for example 5s", clip(string(text)))
	}
	*s = Seconds(d / time.Second)
	return nil
}

// Size is a number of bytes. It is written with a unit (512MiB, 10GiB, 1GB) or as
// a plain number.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// UnmarshalText reads a size of 0 to 2^63-1 bytes.
func (s *Size) UnmarshalText(text []byte) error {
	wrong := fmt.Errorf("%s is no size; write for example 512MiB or 10GiB", clip(string(text)))
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(string(text), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimRight(number, " "), 64)
		if err != nil || strings.ContainsAny(number, "xXpP_eEnN+") || n < 0 || n*unit.bytes >= math.MaxInt64 {
			return wrong
		}
		*s = Size(n * unit.bytes)
		return nil
	}
	return wrong
}

// Path names a file. In a configuration file it is relative to the directory of
// that file; in the environment and in flags to the working directory.
type Path string

// Secret is a text that is never printed: every way to format, log or encode it
// gives "[redacted]". It is read from the environment only. The zero Secret is none.
type Secret struct {
	text *string // a pointer, because fmt looks into fields that it can't ask for their String
}

const redacted = "[redacted]"

// Reveal returns the text itself; "" when there is none.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String returns "[redacted]", or "" when there is no secret.
func (s Secret) String() string {
	if s.Reveal() == "" {
		return ""
	}
	return redacted
}

// Format writes what String returns, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns what String does.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what String does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

var (
	secretType   = reflect.TypeFor[Secret]()
	pathType     = reflect.TypeFor[Path]()
	durationType = reflect.TypeFor[time.Duration]()
	addrType     = reflect.TypeFor[netip.Addr]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
)

type textUnmarshaler interface{ UnmarshalText([]byte) error }

// isScalar reports whether one text makes a value of the type.
func isScalar(t reflect.Type) bool {
	if t == secretType || reflect.PointerTo(t).Implements(reflect.TypeFor[textUnmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	}
	return false
}

// setScalar parses text into v, whose type is scalar. Base is the directory that
// relative paths start from.
func setScalar(v reflect.Value, text, base string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("the text has a control character or is not UTF-8")
	}
	switch v.Type() {
	case secretType:
		v.Set(reflect.ValueOf(Secret{&text}))
		return nil
	case pathType:
		if text != "" && !filepath.IsAbs(text) {
			text = filepath.Join(base, text)
		}
		v.SetString(text)
		return nil
	case durationType:
		d, err := parseDuration(text)
		v.SetInt(int64(d))
		return err
	case addrType:
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("%s is no IP address; write for example 203.0.113.10 or 2001:db8::10", clip(text))
		}
		v.Set(reflect.ValueOf(a))
		return nil
	case prefixType:
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%s is no network; write for example 192.0.2.0/24 or 2001:db8::/32", clip(text))
		}
		v.Set(reflect.ValueOf(p.Masked()))
		return nil
	}
	if u, ok := reflect.TypeAssert[textUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%s is neither true nor false", clip(text))
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%s is no whole number; write for example 1", clip(text))
		}
		v.SetInt(n)
	default:
		v.SetString(text)
	}
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch _, number := strconv.ParseFloat(text, 64); {
	case err == nil && (d != 0 || strings.ContainsAny(text, "hmsuµn")):
		return d, nil
	case number == nil:
		return 0, fmt.Errorf("%s has no unit; write for example %ss", clip(text), text)
	}
	return 0, fmt.Errorf("%s is no duration; write for example 5s or 720h", clip(text))
}

// setList parses texts into a slice of scalars, or key=value texts into a map of
// scalars.
func setList(v reflect.Value, texts []string, base string) error {
	if v.Kind() == reflect.Map {
		m := reflect.MakeMap(v.Type())
		for _, text := range texts {
			key, value, ok := strings.Cut(text, "=")
			if !ok || key == "" {
				return fmt.Errorf("%s is no pair; write for example tier=prod", clip(text))
			}
			element := reflect.New(v.Type().Elem()).Elem()
			if err := setScalar(element, value, base); err != nil {
				return err
			}
			m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
		}
		v.Set(m)
		return nil
	}
	list := reflect.MakeSlice(v.Type(), len(texts), len(texts))
	for i, text := range texts {
		if err := setScalar(list.Index(i), text, base); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

// splitList cuts a comma-separated list; spaces around the parts are dropped.
func splitList(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// isPort reports whether text is a port from 0 to 65535.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n <= math.MaxUint16
}
