package registry

import (
	"unicode/utf8"
)

// scanner reads the plain part of JSON (RFC 8259) without allocating. Whatever it
// does not know how to read exactly as encoding/json would, it refuses by setting
// bad; it never reads on after that.
type scanner struct {
	body   []byte
	at     int
	depth  int
	bad    bool
	buffer []byte // of a string with escapes, valid until the next one
}

func (s *scanner) fail() { s.bad = true }

// peek passes over white space and returns the next byte; 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.body); s.at++ {
		switch c := s.body[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// expect passes over white space and one byte.
func (s *scanner) expect(c byte) {
	if s.bad || s.peek() != c {
		s.fail()
		return
	}
	s.at++
}

// open begins an object or array.
func (s *scanner) open(c byte) {
	s.expect(c)
	if s.depth++; s.depth > MaxDepth {
		s.fail()
	}
}

// more reports whether another member or element follows, and passes over the
// comma in front of it; count is how many were read.
func (s *scanner) more(count int, end byte) bool {
	if s.bad {
		return false
	}
	switch c := s.peek(); {
	case c == end:
		s.at++
		s.depth--
		return false
	case count > 0:
		s.expect(',')
	}
	return !s.bad
}

// key reads the name of a member and the colon. Only names that encoding/json
// compares byte by byte are read: it takes upper-case letters for lower-case ones.
func (s *scanner) key() []byte {
	name, plain := s.quoted()
	for _, c := range name {
		if 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if !plain {
		s.fail()
		return nil
	}
	s.expect(':')
	return name
}

// quoted reads a string as it stands between the quotation marks. Plain says that
// it has no escapes.
func (s *scanner) quoted() (raw []byte, plain bool) {
	s.expect('"')
	if s.bad {
		return nil, false
	}
	begin := s.at
	plain = true
	for s.at < len(s.body) {
		switch c := s.body[s.at]; {
		case c == '"':
			raw = s.body[begin:s.at]
			s.at++
			return raw, plain
		case c == '\\':
			plain = false
			s.at += 2
		case c < ' ':
			s.fail()
			return nil, false
		default:
			s.at++
		}
	}
	s.fail()
	return nil, false
}

// text reads a string. What it returns is valid until the next call.
func (s *scanner) text() []byte {
	raw, plain := s.quoted()
	if s.bad {
		return nil
	}
	if !plain {
		raw = s.unescape(raw)
	}
	for _, c := range raw {
		if c >= utf8.RuneSelf {
			if !utf8.Valid(raw) { // encoding/json replaces what is not UTF-8
				s.fail()
				return nil
			}
			break
		}
	}
	return raw
}

// unescape resolves the escapes of a string; pairs of surrogates are left to others.
func (s *scanner) unescape(raw []byte) []byte {
	out := s.buffer[:0]
	for n := 0; n < len(raw); n++ {
		if raw[n] != '\\' {
			out = append(out, raw[n])
			continue
		}
		n++
		switch c := raw[n]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(raw[n+1:])
			if !ok || 0xd800 <= r && r < 0xe000 {
				s.fail()
				return nil
			}
			out = utf8.AppendRune(out, r)
			n += 4
		default:
			s.fail()
			return nil
		}
	}
	s.buffer = out
	return out
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// maxDigits is how many digits always fit into an int64.
const maxDigits = 18

// number reads a whole number that is not negative, of at most maxDigits.
func (s *scanner) number() (n uint64) {
	if s.bad {
		return 0
	}
	s.peek()
	begin := s.at
	for ; s.at < len(s.body); s.at++ {
		c := s.body[s.at]
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	digits := s.at - begin
	if digits == 0 || digits > maxDigits || digits > 1 && s.body[begin] == '0' {
		s.fail()
		return 0
	}
	return n
}

// integer reads a whole number.
func (s *scanner) integer() int {
	negative := !s.bad && s.peek() == '-'
	if negative {
		s.at++
		if s.at < len(s.body) && s.body[s.at] <= ' ' {
			s.fail()
		}
	}
	n := int64(s.number())
	if negative {
		n = -n
	}
	if int64(int(n)) != n {
		s.fail()
		return 0
	}
	return int(n)
}

// flag reads true or false.
func (s *scanner) flag() bool {
	if s.peek() == 't' {
		s.word("true")
		return true
	}
	s.word("false")
	return false
}

func (s *scanner) word(w string) {
	if s.bad || s.peek() == 0 || len(s.body)-s.at < len(w) || string(s.body[s.at:s.at+len(w)]) != w {
		s.fail()
		return
	}
	s.at += len(w)
}

// skip passes over one value of any kind.
func (s *scanner) skip() {
	if s.bad {
		return
	}
	switch c := s.peek(); c {
	case '{':
		s.open('{')
		for n := 0; s.more(n, '}'); n++ {
			s.text()
			s.expect(':')
			s.skip()
		}
	case '[':
		s.open('[')
		for n := 0; s.more(n, ']'); n++ {
			s.skip()
		}
	case '"':
		s.text()
	case 't', 'f':
		s.flag()
	case 'n':
		s.word("null")
	default:
		s.integer() // others are left to encoding/json
	}
}
