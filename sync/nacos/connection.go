package nacos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	wire "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	grpcTimeout = 3 * time.Second
	grpcMost    = 64 << 20 // bytes of one message
	setupPause  = 10 * time.Millisecond
	// clientVersion is what the server takes us for; it decides what it sends.
	clientVersion = "Nacos-Go-Client:v2.3.5"
)

// connection is one gRPC connection, for one namespace: requests, and a stream on
// which the server pushes. Its methods may be called from any goroutine, but
// receive from one only. It never reconnects: once it is broken, everything on it
// fails.
type connection struct {
	namespace string
	conn      *grpc.ClientConn
	client    wire.RequestClient
	stream    wire.BiRequestStream_RequestBiStreamClient
	cancel    context.CancelFunc // ends the stream
	api       *openAPI           // logs in
	local     string             // our address, as the server lists it

	send sync.Mutex // one sender at a time on the stream
}

// answerError is Nacos's "no" to a request.
type answerError struct {
	Code int
	Text string
}

func (e *answerError) Error() string { return fmt.Sprintf("Nacos answers %d: %s", e.Code, e.Text) }

// Codes of an [answerError].
const (
	codeInvalid   = 400 // a name that Nacos does not allow
	codeForbidden = 403
)

// connect tries the servers in turn, from a given one on, and returns a connection
// that the server has taken in. The caller closes it.
func (s *Source) connect(ctx context.Context, api *openAPI, secure *tls.Config, namespace string) (*connection, error) {
	var all []error
	first := int(api.preferred.Load())
	for n := range s.config.Servers {
		at := (first + n) % len(s.config.Servers)
		server := s.config.Servers[at]
		c, err := dial(ctx, server, secure, namespace, api)
		if err == nil {
			api.preferred.Store(int32(at)) // two servers may differ for a while
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		all = append(all, fmt.Errorf("gRPC port of %s: %w", server, err))
	}
	return nil, errors.Join(all...)
}

// dial connects to one server. The connection outlives ctx, which only bounds the
// dialling.
func dial(ctx context.Context, server string, secure *tls.Config, namespace string, api *openAPI) (*connection, error) {
	host, port, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	target := host + ":" + strconv.FormatUint(port+grpcOffset, 10)
	transport := insecure.NewCredentials()
	if secure != nil {
		transport = credentials.NewTLS(secure)
	}
	conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(transport), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(grpcMost)))
	if err != nil {
		return nil, err
	}
	c := &connection{namespace: namespace, conn: conn, client: wire.NewRequestClient(conn), api: api, local: localAddress(ctx, target)}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	if err := c.setUp(ctx, life); err != nil {
		c.close()
		return nil, fmt.Errorf("not connected: %w", err)
	}
	return c, nil
}

// setUp opens the stream, which ends with life, and waits until the server has
// taken the connection in.
func (c *connection) setUp(ctx, life context.Context) (err error) {
	ctx, done := context.WithTimeoutCause(ctx, grpcTimeout, fmt.Errorf("not ready within %v", grpcTimeout))
	defer done()
	if err := c.request(ctx, "ServerCheckRequest", struct{}{}, &struct{}{}); err != nil {
		return err
	}
	if c.stream, err = wire.NewBiRequestStreamClient(c.conn).RequestBiStream(life); err != nil {
		return err
	}
	err = c.push("ConnectionSetupRequest", map[string]any{
		"clientVersion": clientVersion, "tenant": c.namespace, "clientAbilities": struct{}{},
		"labels": map[string]string{"source": "sdk", "module": "naming"},
	})
	if err != nil {
		return err
	}
	return c.registered(ctx)
}

// registered waits until the server has taken the connection in. It does not say
// so; it refuses requests until then.
func (c *connection) registered(ctx context.Context) error {
	pause := time.NewTicker(setupPause)
	defer pause.Stop()
	for {
		err := c.request(ctx, "HealthCheckRequest", struct{}{}, &struct{}{})
		answer := new(answerError)
		if err == nil || !errors.As(err, &answer) || answer.Code < 300 || answer.Code >= 400 {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		}
	}
}

// localAddress returns the address that we reach the target from; "" when there
// is none. Nothing is sent.
func localAddress(ctx context.Context, target string) string {
	probe, err := new(net.Dialer).DialContext(ctx, "udp", target)
	if err != nil {
		return ""
	}
	defer probe.Close()
	host, _, _ := net.SplitHostPort(probe.LocalAddr().String())
	return host
}

// close ends the connection and everything that waits on it.
func (c *connection) close() {
	c.cancel()
	_ = c.conn.Close() // fails only when it is closed already
}

// payload wraps a request or an answer.
func (c *connection) payload(kind string, headers map[string]string, body any) (*wire.Payload, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return &wire.Payload{
		Metadata: &wire.Metadata{Type: kind, ClientIp: c.local, Headers: headers},
		Body:     &anypb.Any{Value: text},
	}, nil
}

// request asks, and decodes what is answered. It is bounded by [grpcTimeout]. A
// token that is refused is renewed once.
func (c *connection) request(ctx context.Context, kind string, body, into any) error {
	token, err := c.api.bearer(ctx)
	if err != nil {
		return err
	}
	err = c.ask(ctx, kind, token, body, into)
	if answer := new(answerError); token != "" && errors.As(err, &answer) && answer.Code == codeForbidden {
		c.api.expire(token)
		if token, err = c.api.bearer(ctx); err != nil {
			return err
		}
		err = c.ask(ctx, kind, token, body, into)
	}
	return err
}

func (c *connection) ask(ctx context.Context, kind, token string, body, into any) error {
	headers := make(map[string]string)
	if token != "" {
		headers["accessToken"] = token
	}
	asked, err := c.payload(kind, headers, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, grpcTimeout, fmt.Errorf("no answer within %v", grpcTimeout))
	defer cancel()
	answered, err := c.client.Request(ctx, asked)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w", kind, err)
	}
	text := answered.GetBody().GetValue()
	var envelope struct {
		Result  int    `json:"resultCode"`
		Code    int    `json:"errorCode"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return fmt.Errorf("%s: the answer is no JSON: %w", kind, err)
	}
	if envelope.Result != 200 {
		return fmt.Errorf("%s: %w", kind, &answerError{Code: envelope.Code, Text: clip(envelope.Message)})
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}

// push sends on the stream.
func (c *connection) push(kind string, body any) error {
	payload, err := c.payload(kind, nil, body)
	if err != nil {
		return err
	}
	c.send.Lock()
	defer c.send.Unlock()
	return c.stream.Send(payload)
}

// pushedService is a push, or the answer to a subscription.
type pushedService struct {
	Group   string  `json:"groupName"`
	Name    string  `json:"name"`
	Content reading `json:"-"`
}

// UnmarshalJSON decodes names and content; both stand in one object.
func (p *pushedService) UnmarshalJSON(text []byte) error {
	type names pushedService
	if err := json.Unmarshal(text, (*names)(p)); err != nil {
		return err
	}
	return json.Unmarshal(text, &p.Content)
}

// errMoved says that the server asked us to connect to another one.
var errMoved = errors.New("the server asks to connect anew")

// receive takes what the server sends and acknowledges it, until the connection
// breaks; it returns why. Take must not block. A push that can't be decoded is
// acknowledged too, or the server would send it for ever; the rolling check finds
// what it would have said.
func (c *connection) receive(take func(pushedService)) error {
	for {
		payload, err := c.stream.Recv()
		if err != nil {
			return fmt.Errorf("connection to Nacos: %w", err)
		}
		var request struct {
			ID      string        `json:"requestId"`
			Service pushedService `json:"serviceInfo"`
		}
		kind := payload.GetMetadata().GetType()
		malformed := json.Unmarshal(payload.GetBody().GetValue(), &request)
		answer := ""
		switch kind {
		case "NotifySubscriberRequest":
			answer = "NotifySubscriberResponse"
			if malformed == nil {
				take(request.Service)
			}
		case "ClientDetectionRequest":
			answer = "ClientDetectionResponse"
		case "SetupAckRequest":
			answer = "SetupAckResponse"
		case "ConnectResetRequest":
			return errMoved
		default:
			continue // of a later version; it asks for nothing that we promised
		}
		if err := c.push(answer, map[string]any{"requestId": request.ID, "resultCode": 200, "success": true}); err != nil {
			return fmt.Errorf("connection to Nacos: %w", err)
		}
	}
}

// names asks for the names of all services of a unit, in one page: pages of a
// list that changes don't fit together.
func (c *connection) names(ctx context.Context, u *unit) ([]string, error) {
	var list struct {
		Count int      `json:"count"`
		Names []string `json:"serviceNames"`
	}
	err := c.request(ctx, "ServiceListRequest", map[string]any{
		"namespace": u.namespace, "groupName": u.group, "serviceName": "", "selector": "", "module": "naming", "pageNo": 1, "pageSize": listSize,
	}, &list)
	if err != nil {
		return nil, fmt.Errorf("list of %s: %w", u, err)
	}
	if list.Count != len(list.Names) {
		return nil, fmt.Errorf("list of %s: %d names of %d", u, len(list.Names), list.Count)
	}
	return list.Names, nil
}

// subscribe begins the pushes of a service, and returns what it was just before.
// It asks for all of Nacos's clusters: a connection has one subscription for each
// service, and the last one counts.
func (c *connection) subscribe(ctx context.Context, o origin) (reading, error) {
	var answer struct {
		Service reading `json:"serviceInfo"`
	}
	err := c.about(ctx, "SubscribeServiceRequest", o, map[string]any{"subscribe": true, "clusters": ""}, &answer)
	return answer.Service, err
}

// unsubscribe ends the pushes.
func (c *connection) unsubscribe(ctx context.Context, o origin) error {
	return c.about(ctx, "SubscribeServiceRequest", o, map[string]any{"subscribe": false, "clusters": ""}, &struct{}{})
}

// query asks for a service once. Unlike the HTTP API of Nacos 3, the answer tells
// of the protect threshold.
func (c *connection) query(ctx context.Context, o origin) (reading, error) {
	var answer struct {
		Service reading `json:"serviceInfo"`
	}
	err := c.about(ctx, "ServiceQueryRequest", o, map[string]any{"cluster": "", "healthyOnly": false, "udpPort": 0}, &answer)
	return answer.Service, err
}

// about makes a request that concerns one service.
func (c *connection) about(ctx context.Context, kind string, o origin, body map[string]any, into any) error {
	body["namespace"], body["groupName"], body["serviceName"], body["module"] = o.unit.namespace, o.unit.group, o.name, "naming"
	if err := c.request(ctx, kind, body, into); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	return nil
}
