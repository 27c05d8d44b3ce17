package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// slowAnswer is what a DNS answer may take, with the way there.
const slowAnswer = time.Second

func judgeAnswers(f *Facts) []Finding {
	var found []Finding
	good := 0
	for _, s := range f.DNS {
		for _, protocol := range sortedKeys(s.SOA) {
			switch a := s.SOA[protocol]; {
			case a.Err != nil:
				found = append(found, critical("Does global-dns listen there (dns.listen), for UDP and TCP, and does a firewall let it through? --dns says whom to ask.", "%v", a.Err))
			case a.RCode != "NOERROR" || len(a.Data) != 1:
				found = append(found, critical("Is it a global-dns of this zone, and ready?", "%s answers the zone's SOA over %s with %s", s.Address, protocol, strings.Join(append([]string{a.RCode}, a.Extended...), ", ")))
			case a.Took > slowAnswer:
				found = append(found, warning("Look at its load, and at the way there.", "%s takes %v to answer over %s", s.Address, rounded(a.Took), protocol))
			default:
				good++
			}
		}
	}
	if len(found) == 0 && good > 0 {
		found = append(found, healthy("%s over UDP and TCP", plural(len(f.DNS), "server answers", "servers answer")))
	}
	return found
}

func judgeSerial(f *Facts) []Finding {
	var found []Finding
	level := 0
	for _, s := range f.DNS {
		for _, protocol := range sortedKeys(s.SOA) {
			a := s.SOA[protocol]
			if a.Err != nil || a.RCode != "NOERROR" || len(a.Data) != 1 || f.Streams.Events.Name == "" {
				continue
			}
			// RFC 1982: what lies less than half of the circle behind is older.
			switch behind := int32(uint32(f.Streams.Events.Last) - a.Serial); {
			case behind > 0:
				found = append(found, critical("Is it cut off from NATS? Secondaries follow their primary: see docs/secondaries.md.", "%s has the serial %d, the stream stood at %d before it was asked", s.Address, a.Serial, uint32(f.Streams.Events.Last)))
			case f.Streams.After > 0 && int32(a.Serial-uint32(f.Streams.After)) > 0:
				found = append(found, critical("The stream was recreated, restored or cut short; or this server belongs to another mesh.", "%s has the serial %d, which the stream (at %d) has not reached", s.Address, a.Serial, uint32(f.Streams.After)))
			default:
				level++
			}
			break
		}
	}
	if len(found) == 0 && level > 0 {
		found = append(found, healthy("%s that of the stream", plural(level, "serial is", "serials are")))
	}
	return found
}

func judgeService(f *Facts) []Finding {
	var found []Finding
	good := ""
	for _, s := range f.DNS {
		if s.Name == "" {
			continue
		}
		what := fmt.Sprintf("%s: %s %s", s.Address, s.Name, s.Type)
		strangers := slices.DeleteFunc(slices.Clone(s.Service.Data), func(address string) bool { return slices.Contains(s.Want, address) })
		switch a := s.Service; {
		case a.Err != nil:
			found = append(found, critical("Does global-dns listen there?", "%v", a.Err))
		case a.RCode != "NOERROR" || len(a.Data) == 0:
			found = append(found, critical("seamark resolve shows why.", "%s is answered with %s and no address, but %s can serve it", what, a.RCode, strings.Join(s.Want, ", ")))
		case len(strangers) > 0:
			found = append(found, critical("seamark resolve shows why.", "%s is answered with %s, which can't serve it", what, strings.Join(strangers, ", ")))
		default:
			good = s.Name
		}
	}
	if len(found) == 0 && good != "" {
		found = append(found, healthy("%s is answered with gateways that can serve it", good))
	}
	return found
}

func judgeTransfers(f *Facts) []Finding {
	var found []Finding
	same := 0
	for _, s := range f.DNS {
		switch {
		case f.Transfers == "", s.Transfer == "" && s.TransferErr == nil: // it was not asked
		case s.TransferErr != nil:
			found = append(found, unknown("", "%v", s.TransferErr))
		case s.Transfer == f.Transfers:
			same++
		case s.Transfer == "allowed":
			found = append(found, critical("Narrow dns.transfer.allow: see docs/secondaries.md.", "%s gives the whole zone to this machine, without a key", s.Address))
		default:
			found = append(found, warning("Is this machine in dns.transfer.allow, or is a key asked for? See docs/secondaries.md.", "%s refuses a transfer of the zone to this machine", s.Address))
		}
	}
	if len(found) == 0 && same > 0 {
		found = append(found, healthy("%s a transfer as is expected: %s", plural(same, "server treats", "servers treat"), f.Transfers))
	}
	return found
}
