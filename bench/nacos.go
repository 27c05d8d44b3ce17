package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	wire "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// subscriber is a client of Nacos beside the agent, subscribed to the same service:
// the server pushes to both at once, so its receipt tells when a push came, by a
// clock that is not the agent's.
type subscriber struct {
	conn   *grpc.ClientConn
	client wire.RequestClient
	stream wire.BiRequestStream_RequestBiStreamClient
	pushes chan push
}

// push is what Nacos says of the service, and when it came.
type push struct {
	hosts int
	at    time.Time
}

const nacosGroup = "DEFAULT_GROUP"

// subscribe connects and subscribes. Pushes arrive until ctx ends.
func subscribe(ctx context.Context, server *servers.NacosServer, service string) (*subscriber, error) {
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", server.Port+1000), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, err
	}
	b := &subscriber{conn: conn, client: wire.NewRequestClient(conn), pushes: make(chan push, 1024)}
	if err := b.open(ctx, service); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return b, nil
}

func (b *subscriber) open(ctx context.Context, service string) error {
	if err := b.request(ctx, "ServerCheckRequest", map[string]any{}); err != nil {
		return err
	}
	var err error
	if b.stream, err = wire.NewBiRequestStreamClient(b.conn).RequestBiStream(ctx); err != nil {
		return err
	}
	err = b.send("ConnectionSetupRequest", map[string]any{
		"clientVersion": "Nacos-Go-Client:v2.3.5", "clientAbilities": map[string]any{}, "labels": map[string]string{"source": "sdk", "module": "naming"},
	})
	if err != nil {
		return err
	}
	// The server does not say when it has taken the connection in: it refuses until then.
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("Nacos took no subscription within 10 s"))
	defer cancel()
	for {
		err := b.request(ctx, "SubscribeServiceRequest", map[string]any{
			"namespace": "public", "groupName": nacosGroup, "serviceName": service, "subscribe": true, "clusters": "", "module": "naming",
		})
		if err == nil {
			return nil
		}
		if !pause(ctx, 20*time.Millisecond) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

func payload(kind string, body any) (*wire.Payload, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return &wire.Payload{Metadata: &wire.Metadata{Type: kind, ClientIp: "127.0.0.1"}, Body: &anypb.Any{Value: text}}, nil
}

func (b *subscriber) request(ctx context.Context, kind string, body any) error {
	p, err := payload(kind, body)
	if err != nil {
		return err
	}
	reply, err := b.client.Request(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	var result struct {
		ResultCode int
		Message    string
	}
	if err := json.Unmarshal(reply.GetBody().GetValue(), &result); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	if result.ResultCode != http.StatusOK {
		return fmt.Errorf("%s: result %d %s", kind, result.ResultCode, result.Message)
	}
	return nil
}

func (b *subscriber) send(kind string, body any) error {
	p, err := payload(kind, body)
	if err != nil {
		return err
	}
	return b.stream.Send(p)
}

// receive takes and acknowledges pushes until the stream ends. The time is taken
// before a push is decoded.
func (b *subscriber) receive() error {
	for {
		p, err := b.stream.Recv()
		if err != nil {
			return err
		}
		at := time.Now()
		var request struct {
			ID      string `json:"requestId"`
			Service struct {
				Hosts []struct{ IP string } `json:"hosts"`
			} `json:"serviceInfo"`
		}
		if err := json.Unmarshal(p.GetBody().GetValue(), &request); err != nil {
			return err
		}
		answer := ""
		switch p.GetMetadata().GetType() {
		case "NotifySubscriberRequest":
			answer = "NotifySubscriberResponse"
			select {
			case b.pushes <- push{len(request.Service.Hosts), at}:
			default:
				return errors.New("nobody takes the pushes")
			}
		case "ClientDetectionRequest":
			answer = "ClientDetectionResponse"
		case "SetupAckRequest":
			answer = "SetupAckResponse"
		default:
			continue
		}
		if err := b.send(answer, map[string]any{"requestId": request.ID, "resultCode": 200, "success": true}); err != nil {
			return err
		}
	}
}

// until waits for a push with so many instances.
func (b *subscriber) until(ctx context.Context, hosts int) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mostWait, fmt.Errorf("no push with %d instances within %v", hosts, mostWait))
	defer cancel()
	for {
		select {
		case p := <-b.pushes:
			if p.hosts == hosts {
				return p.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
}

// nacosCall calls Nacos's HTTP interface, as an operator's script does.
func nacosCall(ctx context.Context, server *servers.NacosServer, method, path string, values url.Values) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+server.Addr+"/nacos/v1/ns"+path+"?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, path, reply.Status, body)
	}
	return err
}
