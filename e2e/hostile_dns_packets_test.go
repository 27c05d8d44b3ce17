//go:build linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// silence in place of an RCODE.
const silence = -1

const (
	wireName     = "\x03web\x03svc\x04mesh\x08internal\x00"
	wireQuestion = wireName + "\x00\x01\x00\x01"
	wireOPT      = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	wireA        = "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"
)

// raw makes a packet: id 0xabcd, RD, these counts, then the parts.
func raw(counts [4]uint16, parts ...string) []byte {
	b := []byte{0xab, 0xcd, 0x01, 0x00}
	for _, c := range counts {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	return append(b, strings.Join(parts, "")...)
}

// asked is a packet whose question has this type and class.
func asked(rrtype, class uint16) []byte {
	b := raw([4]uint16{1}, wireName)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, rrtype), class)
}

// optioned is a query with an OPT record that has these flags and options.
func optioned(size uint16, flags uint32, options string) []byte {
	b := raw([4]uint16{1, 0, 0, 1}, wireQuestion, "\x00\x00\x29")
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, size), flags)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(options))), options...)
}

// packetCase is a packet and the RCODE that it gets, or silence.
type packetCase struct {
	packet []byte
	rcode  int
}

func packetCases() map[string]packetCase {
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
	in := "\x00\x01\x00\x01"
	all := map[string]packetCase{
		"a response":              {append([]byte{0xab, 0xcd, 0x81, 0}, raw([4]uint16{1}, wireQuestion)[4:]...), silence},
		"no question":             {raw([4]uint16{}), dns.RcodeFormatError},
		"two questions":           {raw([4]uint16{2}, wireQuestion, wireQuestion), dns.RcodeFormatError},
		"65535 questions":         {raw([4]uint16{65535}, wireQuestion), dns.RcodeFormatError},
		"65535 of everything":     {raw([4]uint16{65535, 65535, 65535, 65535}), dns.RcodeFormatError},
		"a question is missing":   {raw([4]uint16{1}), dns.RcodeFormatError},
		"pointer to itself":       {raw([4]uint16{1}, "\xc0\x0c"+in), dns.RcodeFormatError},
		"pointers in a loop":      {raw([4]uint16{1}, "\x01a\xc0\x0c"+in), dns.RcodeFormatError},
		"pointer forward":         {raw([4]uint16{1}, "\xc0\x20"+in, wireName), dns.RcodeFormatError},
		"pointer past the end":    {raw([4]uint16{1}, "\xff\xff"+in), dns.RcodeFormatError},
		"label of 64":             {raw([4]uint16{1}, "\x40"+strings.Repeat("a", 64), "\x00"+in), dns.RcodeFormatError},
		"label type 01":           {raw([4]uint16{1}, "\x41a\x00"+in), dns.RcodeFormatError},
		"label type 10":           {raw([4]uint16{1}, "\x81a\x00"+in), dns.RcodeFormatError},
		"name of 256":             {raw([4]uint16{1}, long, "\x3e"+strings.Repeat("a", 62), "\x00"+in), dns.RcodeFormatError},
		"name of 255":             {raw([4]uint16{1}, long, "\x2e"+strings.Repeat("a", 46), "\x04mesh\x08internal\x00"+in), dns.RcodeNameError},
		"NUL, dot, 0xff, space":   {raw([4]uint16{1}, "\x05\x00.\xff x\x03svc\x04mesh\x08internal\x00"+in), dns.RcodeNameError},
		"a dot inside a label":    {raw([4]uint16{1}, "\x07web.svc\x04mesh\x08internal\x00"+in), dns.RcodeNameError},
		"mixed case":              {raw([4]uint16{1}, "\x03wEb\x03SVC\x04mEsH\x08inTernal\x00"+in), dns.RcodeSuccess},
		"the root":                {raw([4]uint16{1}, "\x00"+in), dns.RcodeRefused},
		"a byte behind":           {raw([4]uint16{1}, wireQuestion, "x"), dns.RcodeFormatError},
		"an answer in a query":    {raw([4]uint16{1, 1}, wireQuestion, wireA), dns.RcodeFormatError},
		"an authority in a query": {raw([4]uint16{1, 0, 1}, wireQuestion, wireA), dns.RcodeFormatError},
		"two OPT":                 {raw([4]uint16{1, 0, 0, 2}, wireQuestion, wireOPT, wireOPT), dns.RcodeFormatError},
		"OPT as an answer":        {raw([4]uint16{1, 1}, wireQuestion, wireOPT), dns.RcodeFormatError},
		"OPT with an owner":       {raw([4]uint16{1, 0, 0, 1}, wireQuestion, "\x01a", wireOPT), dns.RcodeFormatError},
		"OPT says too much":       {raw([4]uint16{1, 0, 0, 1}, wireQuestion, wireOPT[:9], "\xff\xff"), dns.RcodeFormatError},
		"OPT says too little":     {raw([4]uint16{1, 0, 0, 1}, wireQuestion, wireOPT[:9], "\x00\x01\x00\x0a\x00\x00"), dns.RcodeFormatError},
		"an option says too much": {optioned(1232, 0, "\x00\x0a\x00\xff"), dns.RcodeFormatError},
		"EDNS 1":                  {optioned(1232, 1<<16, ""), dns.RcodeBadVers},
		"EDNS 255":                {optioned(1232, 255<<16, ""), dns.RcodeBadVers},
		"size 0":                  {optioned(0, 0, ""), dns.RcodeSuccess},
		"size 1":                  {optioned(1, 0, ""), dns.RcodeSuccess},
		"size 511":                {optioned(511, 0, ""), dns.RcodeSuccess},
		"size 65535":              {optioned(65535, 0, ""), dns.RcodeSuccess},
		"DO, CO and all flags":    {optioned(1232, 0xffff, ""), dns.RcodeSuccess},
		"500 options":             {optioned(1232, 0, strings.Repeat("\xfd\xe9\x00\x02ab", 500)), dns.RcodeSuccess},
		"4 KiB":                   {optioned(1232, 0, "\xfd\xe9\x0f\xa0"+strings.Repeat("o", 4000)), dns.RcodeSuccess},
		"60 KB":                   {optioned(1232, 0, "\xfd\xe9\xea\x60"+strings.Repeat("o", 60000)), dns.RcodeSuccess},
		"class CH":                {asked(dns.TypeA, dns.ClassCHAOS), dns.RcodeRefused},
		"class HS":                {asked(dns.TypeA, dns.ClassHESIOD), dns.RcodeRefused},
		"class NONE":              {asked(dns.TypeA, dns.ClassNONE), dns.RcodeRefused},
		"class ANY":               {asked(dns.TypeA, dns.ClassANY), dns.RcodeRefused},
		"class 65535":             {asked(dns.TypeA, 65535), dns.RcodeRefused},
		"type 0":                  {asked(0, 1), dns.RcodeSuccess},
		"type OPT":                {asked(dns.TypeOPT, 1), dns.RcodeFormatError},
		"type TSIG":               {asked(dns.TypeTSIG, 1), dns.RcodeFormatError},
		"type TKEY":               {asked(dns.TypeTKEY, 1), dns.RcodeFormatError},
		"type NXNAME":             {asked(128, 1), dns.RcodeFormatError},
		"type IXFR, no serial":    {asked(dns.TypeIXFR, 1), dns.RcodeRefused},
		"type AXFR over UDP":      {asked(dns.TypeAXFR, 1), dns.RcodeRefused},
		"type MAILB":              {asked(253, 1), dns.RcodeSuccess},
		"type MAILA":              {asked(254, 1), dns.RcodeSuccess},
		"type ANY":                {asked(255, 1), dns.RcodeSuccess},
		"type 65535":              {asked(65535, 1), dns.RcodeSuccess},
	}
	for n := range 12 {
		all[fmt.Sprintf("%d bytes", n)] = packetCase{raw([4]uint16{1}, wireQuestion)[:n], silence}
	}
	for opcode := 1; opcode < 16; opcode++ { // with every flag that there is
		packet := raw([4]uint16{1}, wireQuestion)
		packet[2], packet[3] = byte(opcode)<<3|0x07, 0xff
		rcode := dns.RcodeNotImplemented
		if opcode == dns.OpcodeNotify {
			rcode = dns.RcodeNotAuth // RFC 1996 §3.10: nobody is our primary
		}
		all[fmt.Sprintf("opcode %d", opcode)] = packetCase{packet, rcode}
	}
	return all
}

// packets: each class of packet has its reply, with clear flags and the question byte
// for byte, over UDP and over TCP; what is no query has none.
func (x *target) packets(t *testing.T) {
	var wg sync.WaitGroup
	for name, c := range packetCases() {
		wg.Go(func() {
			patience := 10 * time.Second
			if c.rcode == silence {
				patience = 500 * time.Millisecond
			}
			x.checkReply(t, name+" over udp", c, x.exchange(t, x.from(t, "udp", "127.0.0.1"), c.packet, patience))
			if c.rcode == silence {
				return
			}
			stream := x.from(t, "tcp", "127.0.6.1")
			if strings.HasPrefix(name, "type AXFR") {
				return // over TCP it is another question
			}
			for range 2 { // the connection stays good
				if _, err := stream.Write(framed(c.packet)); err != nil {
					t.Error(err)
					return
				}
				reply, err := next(stream)
				if err != nil {
					t.Errorf("%s over tcp: %v", name, err)
					return
				}
				x.checkReply(t, name+" over tcp", c, reply)
			}
			_ = stream.Close()
		})
	}
	wg.Wait()
	for reason, least := range map[string]float64{"short": 12, "response": 1} {
		if n := x.metric(t, "seamark_dns_dropped_total", `protocol="udp",reason="`+reason+`"`); n < least {
			t.Errorf("%v packets were dropped as %s, want %v", n, reason, least)
		}
	}
}

func (x *target) checkReply(t *testing.T, name string, c packetCase, reply []byte) {
	if c.rcode == silence {
		if reply != nil {
			t.Errorf("%s: a reply %x", name, reply)
		}
		return
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Errorf("%s: the reply %x: %v", name, reply, err)
		return
	}
	if m.Rcode != c.rcode || m.Id != 0xabcd || !m.Response || m.Truncated || m.RecursionAvailable || m.AuthenticatedData || m.CheckingDisabled || m.Zero || len(reply) > 1232 {
		t.Errorf("%s: the reply is %v, want rcode %d", name, m, c.rcode)
	}
	if m.Authoritative && c.rcode != dns.RcodeSuccess && c.rcode != dns.RcodeNameError {
		t.Errorf("%s: AA in %v", name, m)
	}
	if c.rcode == dns.RcodeSuccess || c.rcode == dns.RcodeNameError {
		end := 12 + bytes.Index(c.packet[12:], []byte("\x08internal\x00")) + 14
		if strings.HasPrefix(name, "mixed") {
			end = 12 + len(wireQuestion)
		}
		if !bytes.HasPrefix(reply[12:], c.packet[12:end]) {
			t.Errorf("%s: the question came back as %q", name, reply[12:])
		}
	}
}
