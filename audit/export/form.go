package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// form is how the lines of a format are written and read.
type form struct {
	opening   func(opening) ([]byte, error)
	message   func(registry.Stored) ([]byte, error)
	closing   func(closing) ([]byte, error)
	isOpening func(line []byte) (opening, bool)
	isClosing func(line []byte) (closing, bool)
	read      func(line []byte) (sequence uint64, at time.Time, err error) // sequence 0: no message, and no fault
}

func forms(f Format) form {
	switch f {
	case CloudEvents:
		return cloudForm("", "", "")
	case CloudBatch:
		return cloudForm("[", ",", "]")
	case CSV:
		return csvForm()
	case JSONL:
	}
	return form{
		opening: func(o opening) ([]byte, error) { return marshal(o) },
		closing: func(c closing) ([]byte, error) { return marshal(c) },
		message: jsonRow,
		isOpening: func(line []byte) (o opening, ok bool) {
			return o, json.Unmarshal(line, &o) == nil && o.Export > 0
		},
		isClosing: func(line []byte) (c closing, ok bool) {
			return c, bytes.HasPrefix(line, []byte(`{"end":true,`)) && json.Unmarshal(line, &c) == nil
		},
		read: func(line []byte) (uint64, time.Time, error) {
			p, err := peekRow(line)
			return p.sequence, p.time, err
		},
	}
}

func cloudForm(open, between, end string) form {
	framed := func(before string, line []byte, after string, err error) ([]byte, error) {
		return append(append([]byte(before), line...), after...), err
	}
	edgeData := func(line []byte, into any) bool {
		var e cloudEvent
		return json.Unmarshal(line, &e) == nil && strings.HasPrefix(e.Type, "seamark.export.") && json.Unmarshal(e.Data, into) == nil
	}
	return form{
		opening: func(o opening) ([]byte, error) {
			line, err := edge("begin", o)
			return framed(open, line, "", err)
		},
		message: func(m registry.Stored) ([]byte, error) {
			line, err := event(m)
			return framed(between, line, "", err)
		},
		closing: func(c closing) ([]byte, error) {
			line, err := edge("end", c)
			return framed(between, line, end, err)
		},
		isOpening: func(line []byte) (o opening, ok bool) {
			ok = edgeData(bytes.TrimPrefix(line, []byte(open)), &o)
			return o, ok && o.Export > 0
		},
		isClosing: func(line []byte) (c closing, ok bool) {
			line = bytes.TrimSuffix(bytes.TrimPrefix(line, []byte(between)), []byte(end))
			if !bytes.Contains(line[:min(len(line), 200)], []byte(`"seamark.export.end.v1"`)) {
				return c, false
			}
			return c, edgeData(line, &c) && c.End
		},
		read: func(line []byte) (uint64, time.Time, error) {
			p, err := peekEvent(bytes.TrimPrefix(line, []byte(between)))
			return p.sequence, p.time, err
		},
	}
}

// peeked is what of a line is kept in memory.
type peeked struct {
	sequence uint64
	time     time.Time
	subject  string
}

var errAltered = errors.New("its checksum is wrong: it was altered, or not written to its end")

// peekRow reads what is needed of a line of JSON Lines, without its body where it can.
func peekRow(line []byte) (peeked, error) {
	if !sealed(line, "crc") {
		return peeked{}, errAltered
	}
	sequence, rest, _ := bytes.Cut(bytes.TrimPrefix(line, []byte(`{"sequence":`)), []byte(`,"time":"`))
	at, rest, _ := bytes.Cut(rest, []byte(`","subject":"`))
	subject, _, found := bytes.Cut(rest, []byte(`"`))
	if p, ok := peek(sequence, at, subject); found && ok {
		return p, nil
	}
	m, err := parseRow(line)
	return peeked{m.Sequence, m.Time, m.Subject}, err
}

// peekEvent is peekRow for a CloudEvent.
func peekEvent(line []byte) (peeked, error) {
	if !sealed(line, "seamarkcrc") {
		return peeked{}, errAltered
	}
	value := func(key string) []byte {
		_, rest, _ := bytes.Cut(line, []byte(`"`+key+`":"`))
		v, _, _ := bytes.Cut(rest, []byte(`"`))
		return v
	}
	if p, ok := peek(value("seamarksequence"), value("seamarkstored"), value("seamarkon")); ok && !bytes.Contains(line, []byte(`"seamarkraw":`)) {
		return p, nil
	}
	m, err := parseEvent(line)
	return peeked{m.Sequence, m.Time, m.Subject}, err
}

func peek(sequence, at, subject []byte) (p peeked, ok bool) {
	var err error
	if p.sequence, err = strconv.ParseUint(string(sequence), 10, 64); err != nil {
		return p, false
	}
	if p.time, err = time.Parse(time.RFC3339Nano, string(at)); err != nil {
		return p, false
	}
	p.subject = string(subject)
	return p, len(subject) > 0 && bytes.IndexByte(subject, '\\') < 0 && !bytes.Contains(subject, []byte("\uFFFD"))
}

var csvColumns = []string{
	"sequence", "stored", "subject", "writer", "kind", "name", "cause", "epoch", "revision", "agent", "made",
	"instances", "serving", "added", "removed", "changed", "text", "unusable",
}

// csvForm is for people: what a spreadsheet can show. It can't be read again.
func csvForm() form {
	remark := func(v any) ([]byte, error) {
		line, err := marshal(v)
		return append([]byte("# "), line...), err
	}
	isRemark := func(line []byte, into any) bool {
		text, ok := bytes.CutPrefix(line, []byte("# "))
		return ok && json.Unmarshal(text, into) == nil
	}
	return form{
		opening: func(o opening) ([]byte, error) {
			line, err := remark(o)
			return append(append(line, '\n'), strings.Join(csvColumns, ",")...), err
		},
		closing: func(c closing) ([]byte, error) { return remark(c) },
		message: csvRow,
		isOpening: func(line []byte) (o opening, ok bool) {
			return o, isRemark(line, &o) && o.Export > 0
		},
		isClosing: func(line []byte) (c closing, ok bool) { return c, isRemark(line, &c) && c.End },
		read: func(line []byte) (uint64, time.Time, error) {
			if string(line) == strings.Join(csvColumns, ",") {
				return 0, time.Time{}, nil
			}
			sequence, rest, _ := strings.Cut(string(line), ",")
			stored, _, _ := strings.Cut(rest, ",")
			n, err := strconv.ParseUint(sequence, 10, 64)
			at, timeErr := time.Parse(time.RFC3339Nano, stored)
			return n, at, errors.Join(err, timeErr)
		},
	}
}

// csvRow writes one message as a row.
func csvRow(m registry.Stored) ([]byte, error) {
	d := stream.Decode(m.Subject, m.Header, m.Body, m.Sequence, m.Time)
	cells := map[string]string{
		"sequence": strconv.FormatUint(m.Sequence, 10), "stored": m.Time.UTC().Format(time.RFC3339Nano), "subject": m.Subject,
		"writer": string(d.Fact.Writer), "kind": string(d.Fact.Kind), "name": d.Fact.Name,
	}
	if d.Fact.Kind == registry.KindService {
		cells["name"] = d.Fact.Service.String()
	}
	if d.Epoch > 0 {
		cells["epoch"], cells["revision"] = strconv.FormatUint(d.Epoch, 10), strconv.FormatUint(d.Revision, 10)
	}
	if d.Refused != nil {
		cells["unusable"] = d.Refused.Reason + ": " + d.Refused.Detail
	}
	if e := d.Event; e != nil {
		cells["cause"], cells["agent"], cells["made"] = string(e.Cause), e.Agent, e.Time.UTC().Format(time.RFC3339Nano)
		describe(cells, e)
	}
	record := make([]string, 0, len(csvColumns))
	for _, column := range csvColumns {
		record = append(record, cell(cells[column]))
	}
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	err := w.Write(record)
	w.Flush()
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), errors.Join(err, w.Error())
}

func describe(cells map[string]string, e *registry.Event) {
	switch {
	case e.Service != nil:
		cells["instances"], cells["serving"] = strconv.Itoa(e.Service.Total), strconv.Itoa(e.Service.Serving)
		if c := e.Service.Changes; c != nil {
			cells["added"], cells["removed"] = strings.Join(c.Added, " "), strings.Join(c.Removed, " ")
			var changed []string
			for _, i := range c.Changed {
				changed = append(changed, i.ID+" ("+strings.Join(i.Fields, ", ")+")")
			}
			cells["changed"] = strings.Join(changed, " ")
		}
	case e.Note != nil:
		cells["text"] = e.Note.Text
	case e.State != nil:
		cells["text"] = string(e.State.State)
	case e.Snapshot != nil:
		cells["text"] = fmt.Sprintf("%d services, digest %v", e.Snapshot.Keys, e.Snapshot.Digest)
	case e.Order != nil:
		cells["text"] = e.Order.Kind + " " + e.Order.Target
	}
}

// cell keeps a text on one line, and from being taken for a formula.
func cell(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return "'" + s
	}
	return s
}
