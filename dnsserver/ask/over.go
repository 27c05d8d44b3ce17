package ask

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Over is [Ask] over one protocol, udp or tcp, and no other: a truncated answer is
// returned as it is.
func Over(ctx context.Context, protocol, server, name, rrtype string) (Answer, error) {
	number, ok := dns.StringToType[strings.ToUpper(rrtype)]
	if !ok {
		return Answer{}, fmt.Errorf("%q is no record type: use one of %s", rrtype, strings.Join(Types(), ", "))
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply, took, err := exchange(ctx, protocol, server, query(name, number))
	if err != nil {
		return Answer{}, err
	}
	return answer(reply, protocol, took), nil
}

// Transfer asks server (host:port) for the whole zone (AXFR, RFC 5936) without a
// signature, and tells whether it is given; the records are not kept. It takes at most
// 5 s. The error says that there was no answer.
func Transfer(ctx context.Context, server, zone string) (given bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	question := new(dns.Msg)
	question.SetAxfr(dns.Fqdn(zone))
	client := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	reply, _, err := client.ExchangeContext(ctx, question, server) // the first of its messages tells
	if err != nil {
		return false, fmt.Errorf("ask %s for a transfer: %w", server, err)
	}
	if reply.Rcode == dns.RcodeSuccess && len(reply.Answer) == 0 {
		return false, fmt.Errorf("ask %s for a transfer: %w", server, errors.New("the first message has no record"))
	}
	return reply.Rcode == dns.RcodeSuccess, nil
}
