package ask

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Answer is what a server said.
type Answer struct {
	RCode    string        // NOERROR, NXDOMAIN …
	Records  []string      // the answer section in presentation format (RFC 1035 §5)
	Data     []string      // the same, only the data of each record
	Extended []string      // extended errors (RFC 8914), for example "14 (Not Ready): not caught up"
	Protocol string        // udp or tcp
	Took     time.Duration // from sending to receiving
}

// Types returns the record types that [Ask] knows by name.
func Types() []string { return []string{"A", "AAAA", "SRV", "TXT", "SOA", "NS", "ANY"} }

// Ask asks server (host:port) for a name and a type such as "A". It takes at most
// 5 s, or as long as ctx lasts. The error says which server did not answer.
func Ask(ctx context.Context, server, name, rrtype string) (Answer, error) {
	number, ok := dns.StringToType[strings.ToUpper(rrtype)]
	if !ok {
		return Answer{}, fmt.Errorf("%q is no record type: use one of %s", rrtype, strings.Join(Types(), ", "))
	}
	if _, ok := dns.IsDomainName(name); !ok {
		return Answer{}, fmt.Errorf("%q is no domain name", name)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	question := query(name, number)
	protocol := "udp"
	reply, took, err := exchange(ctx, protocol, server, question)
	if err == nil && reply.Truncated {
		protocol = "tcp"
		reply, took, err = exchange(ctx, protocol, server, question)
	}
	if err != nil {
		return Answer{}, err
	}
	return answer(reply, protocol, took), nil
}

func query(name string, number uint16) *dns.Msg {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), number)
	question.RecursionDesired = false
	question.SetEdns0(1232, false)
	return question
}

func exchange(ctx context.Context, protocol, server string, question *dns.Msg) (*dns.Msg, time.Duration, error) {
	client := dns.Client{Net: protocol, Timeout: 5 * time.Second}
	reply, took, err := client.ExchangeContext(ctx, question, server)
	if err != nil {
		return nil, 0, fmt.Errorf("ask %s over %s: %w", server, protocol, err)
	}
	return reply, took, nil
}

// answer puts a reply into text.
func answer(reply *dns.Msg, protocol string, took time.Duration) Answer {
	a := Answer{RCode: dns.RcodeToString[reply.Rcode], Protocol: protocol, Took: took}
	for _, rr := range reply.Answer {
		text := rr.String()
		a.Records = append(a.Records, text)
		a.Data = append(a.Data, strings.TrimPrefix(text, rr.Header().String()))
	}
	if options := reply.IsEdns0(); options != nil {
		for _, option := range options.Option {
			if extended, ok := option.(*dns.EDNS0_EDE); ok {
				a.Extended = append(a.Extended, extended.String())
			}
		}
	}
	return a
}
