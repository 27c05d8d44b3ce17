package export

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seamark-mesh/seamark/registry"
)

// version is the version of the files that this package writes. It reads this one alone.
const version = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// opening is the first line of a JSON Lines export, and the data of the first event of a
// CloudEvents one.
type opening struct {
	Export int      `json:"seamark_export"` // the version
	Format Format   `json:"format"`
	From   uint64   `json:"from"` // the first sequence that was asked for
	Filter []string `json:"filter,omitempty"`
	Began  uint64   `json:"began,omitempty"` // see audit.Span
}

// closing is the last line, and the data of the last event.
type closing struct {
	End      bool   `json:"end"`
	Messages uint64 `json:"messages"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	To       uint64 `json:"to"` // the last sequence that was asked for
	SHA256   string `json:"sha256"`

	Gone [][2]uint64 `json:"gone,omitempty"` // between First and Last; see audit.Span
}

// row is one message as a line of JSON Lines. One of body and body64 is there.
type row struct {
	Sequence uint64              `json:"sequence"`
	Time     time.Time           `json:"time"`
	Subject  string              `json:"subject"`
	Header   map[string][]string `json:"header,omitempty"`
	Body     *string             `json:"body,omitempty"`
	Body64   []byte              `json:"body64,omitempty"`
	Raw      *rawTexts           `json:"raw,omitempty"` // where JSON would change a text
	CRC      string              `json:"crc,omitempty"` // of the line before it; see seal
}

// rawTexts holds what is not UTF-8.
type rawTexts struct {
	Subject []byte   `json:"subject,omitempty"`
	Header  [][]byte `json:"header,omitempty"` // for each name in the order of their bytes: the name, how many values, the values
}

// seal ends a JSON object with the CRC-32C of all before it in the line, under this name.
func seal(object []byte, name string) []byte {
	out := object[:len(object)-1]
	sum := crc32.Checksum(out, castagnoli)
	return fmt.Appendf(out, `,%q:"%08x"}`, name, sum)
}

// sealed reports whether a line is as seal made it.
func sealed(line []byte, name string) bool {
	tail := fmt.Sprintf(`,%q:"`, name)
	at := len(line) - len(tail) - 10
	if at < 1 || string(line[at:at+len(tail)]) != tail {
		return false
	}
	return fmt.Sprintf(`%08x"}`, crc32.Checksum(line[:at], castagnoli)) == string(line[at+len(tail):])
}

// marshal is json.Marshal without the escapes that are for HTML.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// isPlain reports whether JSON gives all texts of a message back as they are.
func isPlain(m registry.Stored) bool {
	plain := utf8.ValidString(m.Subject)
	for key, values := range m.Header {
		plain = plain && utf8.ValidString(key) && !slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) })
	}
	return plain
}

// rawOf packs what is not UTF-8; nil when all is.
func rawOf(m registry.Stored) *rawTexts {
	if isPlain(m) {
		return nil
	}
	raw := &rawTexts{Subject: []byte(m.Subject)}
	for _, key := range slices.Sorted(maps.Keys(m.Header)) {
		raw.Header = append(raw.Header, []byte(key), []byte(strconv.Itoa(len(m.Header[key]))))
		for _, value := range m.Header[key] {
			raw.Header = append(raw.Header, []byte(value))
		}
	}
	return raw
}

// unpack puts raw texts back.
func (raw *rawTexts) unpack(m *registry.Stored) error {
	if raw == nil {
		return nil
	}
	m.Subject, m.Header = string(raw.Subject), nil
	for rest := raw.Header; len(rest) > 0; {
		if len(rest) < 2 {
			return fmt.Errorf("its raw headers are cut off")
		}
		number, err := strconv.Atoi(string(rest[1]))
		if err != nil || number < 0 || number > len(rest)-2 {
			return fmt.Errorf("its raw headers can't be read")
		}
		if m.Header == nil {
			m.Header = map[string][]string{}
		}
		values := make([]string, 0, number)
		for _, value := range rest[2 : 2+number] {
			values = append(values, string(value))
		}
		m.Header[string(rest[0])] = values
		rest = rest[2+number:]
	}
	return nil
}

// jsonRow writes one message as a line of JSON Lines.
func jsonRow(m registry.Stored) ([]byte, error) {
	r := row{Sequence: m.Sequence, Time: m.Time.UTC(), Subject: m.Subject, Header: m.Header, Raw: rawOf(m)}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		r.Body = &body
	} else {
		r.Body64 = m.Body
	}
	line, err := marshal(r)
	if err != nil {
		return nil, fmt.Errorf("export message #%d: %w", m.Sequence, err)
	}
	return seal(line, "crc"), nil
}

// parseRow reads what jsonRow wrote.
func parseRow(line []byte) (registry.Stored, error) {
	var r row
	if err := json.Unmarshal(line, &r); err != nil {
		return registry.Stored{}, err
	}
	m := registry.Stored{Sequence: r.Sequence, Time: r.Time, Subject: r.Subject, Header: r.Header, Body: r.Body64}
	if r.Body != nil {
		m.Body = []byte(*r.Body)
	}
	return m, r.Raw.unpack(&m)
}

// cloudEvent is one message as a structured CloudEvent 1.0. What the attributes do not
// hold byte by byte is in extensions.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Time        string          `json:"time,omitempty"`
	Subject     string          `json:"subject,omitempty"`
	ContentType string          `json:"datacontenttype,omitempty"`
	Sequence    string          `json:"seamarksequence,omitempty"`
	Stored      string          `json:"seamarkstored,omitempty"`
	On          string          `json:"seamarkon,omitempty"`     // the subject on the stream
	Header      string          `json:"seamarkheader,omitempty"` // all headers, as JSON
	Body        string          `json:"seamarkbody,omitempty"`   // base64 of the body as stored, where data is another form of it
	Raw         string          `json:"seamarkraw,omitempty"`    // rawTexts as JSON
	Data        json.RawMessage `json:"data,omitempty"`
	Data64      []byte          `json:"data_base64,omitempty"`
	CRC         string          `json:"seamarkcrc,omitempty"`
}

// maxInflated bounds a body that is shown inflated.
const maxInflated = registry.MaxBody

// event writes one message as a structured CloudEvent.
func event(m registry.Stored) ([]byte, error) {
	at := func(key string) string {
		if values := m.Header[key]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
	e := cloudEvent{
		SpecVersion: "1.0", ID: unescape(at("ce-id")), Source: at("ce-source"), Type: at("ce-type"), Time: at("ce-time"), Subject: unescape(at("ce-subject")),
		Sequence: strconv.FormatUint(m.Sequence, 10), Stored: m.Time.UTC().Format(time.RFC3339Nano), On: m.Subject,
	}
	if e.ID == "" {
		e.ID = e.Sequence
	}
	if e.Source == "" {
		e.Source = "/seamark"
	}
	if e.Type == "" {
		e.Type = "seamark.unknown.v1"
	}
	if _, err := time.Parse(time.RFC3339Nano, e.Time); err != nil {
		e.Time = e.Stored
	}
	header, err := marshal(m.Header)
	if err == nil && len(m.Header) > 0 {
		e.Header = string(header)
	}
	if raw := rawOf(m); raw != nil && err == nil {
		var text []byte
		text, err = marshal(raw)
		e.Raw = string(text)
	}
	if err != nil {
		return nil, fmt.Errorf("export message #%d: %w", m.Sequence, err)
	}
	body := m.Body
	if at("Content-Encoding") == "gzip" {
		if plain, ok := gunzip(body); ok && isJSON(plain) {
			body, e.Body = plain, base64.StdEncoding.EncodeToString(m.Body)
		}
	}
	switch {
	case isJSON(body):
		e.ContentType = "application/json"
	case len(body) > 0:
		e.ContentType, e.Data64 = "application/octet-stream", body
	}
	line, err := marshal(e)
	if err != nil {
		return nil, fmt.Errorf("export message #%d: %w", m.Sequence, err)
	}
	if e.ContentType == "application/json" { // by hand: json.Marshal would change its spaces and escapes
		line = append(append(append(line[:len(line)-1], `,"data":`...), body...), '}')
	}
	return seal(line, "seamarkcrc"), nil
}

// parseEvent reads what event wrote.
func parseEvent(line []byte) (registry.Stored, error) {
	var e cloudEvent
	if err := json.Unmarshal(line, &e); err != nil {
		return registry.Stored{}, err
	}
	m := registry.Stored{Subject: e.On, Body: e.Data64}
	var err error
	if m.Sequence, err = strconv.ParseUint(e.Sequence, 10, 64); err != nil {
		return m, fmt.Errorf("its seamarksequence is no number")
	}
	if m.Time, err = time.Parse(time.RFC3339Nano, e.Stored); err != nil {
		return m, fmt.Errorf("its seamarkstored is no time")
	}
	if e.Header != "" {
		if err := json.Unmarshal([]byte(e.Header), &m.Header); err != nil {
			return m, fmt.Errorf("its seamarkheader can't be read: %w", err)
		}
	}
	switch {
	case e.Body != "":
		if m.Body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return m, fmt.Errorf("its seamarkbody is no base64")
		}
	case e.Data != nil:
		m.Body = e.Data
	}
	var raw *rawTexts
	if e.Raw != "" {
		if err := json.Unmarshal([]byte(e.Raw), &raw); err != nil {
			return m, fmt.Errorf("its seamarkraw can't be read: %w", err)
		}
	}
	return m, raw.unpack(&m)
}

// isJSON reports whether a body can stand in a line as it is, and comes out as it was.
func isJSON(body []byte) bool {
	return len(body) > 0 && !bytes.ContainsAny(body, "\r\n") && utf8.Valid(body) && json.Valid(body) &&
		len(bytes.TrimSpace(body)) == len(body) && string(body) != "null"
}

func gunzip(body []byte) ([]byte, bool) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, false
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	return plain, err == nil && len(plain) <= maxInflated
}

// unescape undoes the percent-encoding of a CloudEvents attribute in a header.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// edge writes the first or last line of CloudEvents.
func edge(kind string, data any) ([]byte, error) {
	text, err := marshal(data)
	if err != nil {
		return nil, err
	}
	line, err := marshal(cloudEvent{
		SpecVersion: "1.0", ID: "export-" + kind, Source: "/seamark/export", Type: "seamark.export." + kind + ".v1", ContentType: "application/json",
	})
	if err != nil {
		return nil, err
	}
	return append(append(append(line[:len(line)-1], `,"data":`...), text...), '}'), nil
}
