package dnsserver

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// exchangeRaw sends a packet over UDP and returns the reply.
func (r *running) exchangeRaw(t testing.TB, query []byte) []byte {
	t.Helper()
	conn := r.dial(t, UDP)
	defer conn.Close()
	if _, err := conn.Write(query); err != nil {
		t.Fatal(err)
	}
	return readPacket(t, conn)
}

func (r *running) dial(t testing.TB, protocol Protocol) net.Conn {
	t.Helper()
	conn, err := net.Dial(string(protocol), r.address.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func readPacket(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	buffer := make([]byte, 65535)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:n]
}

// sendStream sends a message over TCP with its length in front.
func sendStream(t testing.TB, conn net.Conn, message []byte) {
	t.Helper()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
		t.Fatal(err)
	}
}

func readStream(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	c := dns.Conn{Conn: conn}
	b, err := c.ReadMsgHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// probe is a query that has an answer; its id tells it from others.
func probe(id uint16) []byte {
	q := new(dns.Msg)
	q.SetQuestion("login.svc.mesh.internal.", dns.TypeA)
	q.Id = id
	b, err := q.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// header makes a query's header: id 0xabcd, RD, and these counts.
func header(counts ...uint16) []byte {
	b := []byte{0xab, 0xcd, 0x01, 0x00}
	for n := range 4 {
		c := uint16(0)
		if n < len(counts) {
			c = counts[n]
		}
		b = binary.BigEndian.AppendUint16(b, c)
	}
	return b
}

// build joins byte strings.
func build(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

const (
	wireName     = "\x05login\x03svc\x04mesh\x08internal\x00"
	wireQuestion = wireName + "\x00\x01\x00\x01"
	wireOPT      = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
)

// TestSilence: what is no query gets no reply, and neither storms nor stops anything.
func TestSilence(t *testing.T) {
	s := start(t, Config{}, harbours())
	response := build(header(1), wireQuestion)
	response[2] |= 0x80
	short := map[string][]byte{"empty": {}, "a response": response, "only a response's header": response[:12]}
	for n := 1; n < 12; n++ {
		short["short "+string(rune('0'+n/10))+string(rune('0'+n%10))] = response[:n]
	}
	for name, packet := range short {
		t.Run(name, func(t *testing.T) {
			conn := s.dial(t, UDP)
			defer conn.Close()
			if _, err := conn.Write(packet); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(probe(0x1234)); err != nil {
				t.Fatal(err)
			}
			if got := readPacket(t, conn); binary.BigEndian.Uint16(got) != 0x1234 {
				t.Errorf("there is a reply: %x", got)
			}
		})
	}
	s.seen.await(t, "udp drop short", 12)
	s.seen.await(t, "udp drop response", 2)

	stream := s.dial(t, TCP)
	defer stream.Close()
	sendStream(t, stream, response)
	if n, err := stream.Read(make([]byte, 1)); err == nil {
		t.Errorf("over TCP a response got %d bytes", n)
	}
}

// TestMalformed: packets that can't be read as a whole are FORMERR, with the flags
// clear, and the server stays as it was.
func TestMalformed(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
	tests := map[string][]byte{
		"no question":                          header(0),
		"two questions":                        build(header(2), wireQuestion, wireQuestion),
		"65535 questions":                      build(header(65535), wireQuestion),
		"question missing":                     header(1),
		"question cut in its name":             build(header(1), "\x05log"),
		"question cut in its type":             build(header(1), wireName, "\x00"),
		"question cut in its class":            build(header(1), wireName, "\x00\x01\x00"),
		"name without an end":                  build(header(1), "\x05login"),
		"pointer to itself":                    build(header(1), "\xc0\x0c\x00\x01\x00\x01"),
		"pointer forward":                      build(header(1), "\xc0\x20\x00\x01\x00\x01", wireName),
		"pointer past the end":                 build(header(1), "\xff\xff\x00\x01\x00\x01"),
		"pointer into the header":              build(header(1), "\xc0\x00\x00\x01\x00\x01"),
		"pointer loop":                         build(header(1), "\x01a\xc0\x0c\x00\x01\x00\x01"),
		"pointer cut":                          build(header(1), "\xc0"),
		"label type 01":                        build(header(1), "\x41a\x00\x00\x01\x00\x01"),
		"label type 10":                        build(header(1), "\x81a\x00\x00\x01\x00\x01"),
		"label of 64":                          build(header(1), "\x40"+strings.Repeat("a", 64), "\x00\x00\x01\x00\x01"),
		"name of 256":                          build(header(1), long, "\x3e"+strings.Repeat("a", 62), "\x00\x00\x01\x00\x01"),
		"trailing byte":                        build(header(1), wireQuestion, "x"),
		"trailing bytes after OPT":             build(header(1, 0, 0, 1), wireQuestion, wireOPT, "xyz"),
		"an answer":                            build(header(1, 1), wireQuestion, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"),
		"an authority":                         build(header(1, 0, 1), wireQuestion, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"),
		"OPT as an answer":                     build(header(1, 1), wireQuestion, wireOPT),
		"65535 additional":                     build(header(1, 0, 0, 65535), wireQuestion, wireOPT),
		"additional missing":                   build(header(1, 0, 0, 1), wireQuestion),
		"additional cut":                       build(header(1, 0, 0, 1), wireQuestion, wireOPT[:10]),
		"two OPT":                              build(header(1, 0, 0, 2), wireQuestion, wireOPT, wireOPT),
		"OPT with an owner":                    build(header(1, 0, 0, 1), wireQuestion, "\x01a", wireOPT),
		"OPT owned by a pointer":               build(header(1, 0, 0, 1), wireQuestion, "\xc0\x0c", wireOPT[1:]),
		"OPT's length too long":                build(header(1, 0, 0, 1), wireQuestion, wireOPT[:10], "\x05"),
		"OPT's length too short":               build(header(1, 0, 0, 1), wireQuestion, wireOPT[:10], "\x01", "\x00\x0a\x00\x00"),
		"option's length too long":             build(header(1, 0, 0, 1), wireQuestion, wireOPT[:10], "\x04", "\x00\x0a\x00\x01"),
		"option cut":                           build(header(1, 0, 0, 1), wireQuestion, wireOPT[:10], "\x03", "\x00\x0a\x00"),
		"additional's pointer to itself":       build(header(1, 0, 0, 1), wireQuestion, "\xc0\x29", "\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"),
		"additional's pointer forward":         build(header(1, 0, 0, 1), wireQuestion, "\xc0\xff", "\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"),
		"additional's pointer into the header": build(header(1, 0, 0, 1), wireQuestion, "\xc0\x02", "\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"),
		"TSIG that is not last":                build(header(1, 0, 0, 2), wireQuestion, "\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00", wireOPT),
		"OPT behind IXFR's question":           build(header(1, 0, 1), wireName, "\x00\xfb\x00\x01", wireOPT),
	}
	s := start(t, Config{}, harbours())
	for name, query := range tests {
		t.Run(name, func(t *testing.T) {
			query[2] |= 0x06 // AA and TC
			query[3] |= 0xf5 // RA, Z, AD, CD, an RCODE
			for range 2 {    // twice: the first one must leave nothing behind
				got := s.exchangeRaw(t, query)
				if binary.BigEndian.Uint16(got) != 0xabcd || got[2] != 0x81 || got[3] != dns.RcodeFormatError {
					t.Fatalf("header %x, want FORMERR with QR and RD alone", got[:12])
				}
				m := new(dns.Msg)
				if err := m.Unpack(got); err != nil || len(m.Answer)+len(m.Ns) > 0 {
					t.Errorf("reply %v, %v", m, err)
				}
			}
			stream := s.dial(t, TCP)
			defer stream.Close()
			sendStream(t, stream, query)
			if got := readStream(t, stream); got[3] != dns.RcodeFormatError {
				t.Errorf("over TCP: %x", got)
			}
			sendStream(t, stream, probe(7)) // the connection is still good
			if got := readStream(t, stream); binary.BigEndian.Uint16(got) != 7 || got[3] != 0 {
				t.Errorf("over TCP, afterwards: %x", got)
			}
		})
	}
}

// wireTSIG is a signature with a key that nobody has.
const wireTSIG = "\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x1d\x0bhmac-sha256\x00" +
	"\x00\x00\x00\x00\x00\x00\x01\x2c\x00\x00\x00\x00\x00\x00\x00\x00"

// TestStrangeButValid: packets that few send, and that have an answer.
func TestStrangeButValid(t *testing.T) {
	tests := map[string]struct {
		query []byte
		rcode int
	}{
		"TC set in a query":             {build("\xab\xcd\x03\x00\x00\x01\x00\x00\x00\x00\x00\x00", wireQuestion), dns.RcodeSuccess},
		"a record that is not for us":   {build(header(1, 0, 0, 1), wireQuestion, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"), dns.RcodeSuccess},
		"a record before OPT":           {build(header(1, 0, 0, 2), wireQuestion, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04", wireOPT), dns.RcodeSuccess},
		"NUL, dot, 0xff and space":      {build(header(1), "\x05\x00.\xff x\x03svc\x04mesh\x08internal\x00\x00\x01\x00\x01"), dns.RcodeNameError},
		"the dot is part of a label":    {build(header(1), "\x09login.svc\x04mesh\x08internal\x00\x00\x01\x00\x01"), dns.RcodeNameError},
		"and so is the zone's":          {build(header(1), "\x0dmesh.internal\x00\x00\x01\x00\x01"), dns.RcodeRefused},
		"a backslash":                   {build(header(1), "\x02a\\\x03svc\x04mesh\x08internal\x00\x00\x01\x00\x01"), dns.RcodeNameError},
		"name of 255":                   {build(header(1), strings.Repeat("\x3f"+strings.Repeat("a", 63), 3), "\x2e"+strings.Repeat("a", 46)+"\x04mesh\x08internal\x00\x00\x01\x00\x01"), dns.RcodeNameError},
		"127 labels":                    {build(header(1), strings.Repeat("\x01a", 120)+"\x04mesh\x08internal\x00\x00\x01\x00\x01"), dns.RcodeNameError},
		"the root":                      {build(header(1), "\x00\x00\x01\x00\x01"), dns.RcodeRefused},
		"IXFR with its SOA":             {build(header(1, 0, 1), "\x04mesh\x08internal\x00\x00\xfb\x00\x01", "\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00", strings.Repeat("\x00", 20)), dns.RcodeRefused},
		"TSIG with a key nobody has":    {build(header(1, 0, 0, 1), wireQuestion, wireTSIG), dns.RcodeNotAuth},
		"TSIG behind OPT":               {build(header(1, 0, 0, 2), wireQuestion, wireOPT, wireTSIG), dns.RcodeNotAuth},
		"TSIG that can't be read":       {build(header(1, 0, 0, 1), wireQuestion, "\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00"), dns.RcodeFormatError},
		"4096 bytes, almost all option": {build(header(1, 0, 0, 1), wireQuestion, wireOPT[:9], "\x0f\xc9\xfd\xe9\x0f\xc5", strings.Repeat("o", 4037)), dns.RcodeSuccess},
		"60000 bytes":                   {build(header(1, 0, 0, 1), wireQuestion, wireOPT[:9], "\xea\x64\xfd\xe9\xea\x60", strings.Repeat("o", 60000)), dns.RcodeSuccess},
	}
	s := start(t, Config{}, harbours())
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stream := s.dial(t, TCP)
			defer stream.Close()
			sendStream(t, stream, tt.query)
			for _, got := range [][]byte{s.exchangeRaw(t, tt.query), readStream(t, stream)} {
				m := new(dns.Msg)
				if err := m.Unpack(got); err != nil || m.Rcode != tt.rcode || m.Truncated {
					t.Errorf("reply %v, %v; want rcode %d", m, err, tt.rcode)
				}
				question := tt.query[12:]
				if end := bytes.Index(question[4:], []byte{0, 1}); !bytes.HasPrefix(got[12:], question[:end+4]) {
					t.Errorf("the question came back as %q", got[12:])
				}
			}
		})
	}
}
