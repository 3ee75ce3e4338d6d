// A capacity provider on grpc-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"example.com/capacity-provider/fleet"
	pb "example.com/capacity-provider/gen"
	"example.com/capacity-provider/provider"
)

var statusCodes = map[fleet.Reason]codes.Code{
	fleet.Invalid: codes.InvalidArgument,
	fleet.Unknown: codes.NotFound,
	fleet.Fenced:  codes.FailedPrecondition,
	fleet.NoEdge:  codes.Aborted,
}

// refusals turns a refusal of the fleet into the status of the call.
func refusals(ctx context.Context, request any, _ *grpc.UnaryServerInfo, serve grpc.UnaryHandler) (any, error) {
	response, err := serve(ctx, request)
	if refused := (*fleet.Refused)(nil); errors.As(err, &refused) {
		return nil, status.Error(statusCodes[refused.Reason], refused.Message)
	}
	return response, err
}

func main() {
	implementation, port := provider.FromFlags("grpc-go")
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(refusals))
	pb.RegisterCapacityProviderServer(server, implementation)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())

	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		<-terminated
		server.Stop()
	}()
	fmt.Printf("serving %s\n", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
