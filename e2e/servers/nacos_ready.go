package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	nacosgrpc "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
)

// nacosAnswers asks by HTTP, and then connects by gRPC as the SDK does. A Nacos that has just started may take longer
// than 100 ms over its first connection, and that is all the SDK waits: its first request would then be refused, and it
// would be "UNHEALTHY" until it has connected anew. After a first connection the next ones are fast.
func (n *NacosServer) nacosAnswers(ctx context.Context) error {
	if _, err := ask(ctx, http.DefaultClient, "http://"+n.Addr+"/nacos/v1/ns/operator/metrics", ""); err != nil {
		return err
	}
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", n.Port+1000),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	requests := nacosgrpc.NewRequestClient(conn)
	if err := nacosRequest(ctx, requests, "ServerCheckRequest"); err != nil {
		return err
	}
	stream, err := nacosgrpc.NewBiRequestStreamClient(conn).RequestBiStream(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(nacosPayload("ConnectionSetupRequest")); err != nil {
		return err
	}
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	for {
		// Refused until the server has taken the connection in.
		err := nacosRequest(ctx, requests, "HealthCheckRequest")
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// nacosRequest sends a request without content, and is nil if the server says that it succeeded.
func nacosRequest(ctx context.Context, client nacosgrpc.RequestClient, kind string) error {
	reply, err := client.Request(ctx, nacosPayload(kind))
	if err != nil {
		return err
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

func nacosPayload(kind string) *nacosgrpc.Payload {
	return &nacosgrpc.Payload{
		Metadata: &nacosgrpc.Metadata{Type: kind, ClientIp: "127.0.0.1"},
		Body:     &anypb.Any{Value: []byte(`{"requestId":"1","module":"internal","labels":{"module":"naming","source":"sdk"}}`)},
	}
}
