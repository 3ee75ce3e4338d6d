// A capacity provider on connect-go and net/http, without TLS.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"example.com/capacity-provider/fleet"
	"example.com/capacity-provider/gen/genconnect"
	"example.com/capacity-provider/provider"
)

var statusCodes = map[fleet.Reason]connect.Code{
	fleet.Invalid: connect.CodeInvalidArgument,
	fleet.Unknown: connect.CodeNotFound,
	fleet.Fenced:  connect.CodeFailedPrecondition,
	fleet.NoEdge:  connect.CodeAborted,
}

// refusals turns a refusal of the fleet into the error of the call.
func refusals(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		response, err := next(ctx, request)
		if refused := (*fleet.Refused)(nil); errors.As(err, &refused) {
			return nil, connect.NewError(statusCodes[refused.Reason], refused)
		}
		return response, err
	}
}

func main() {
	implementation, port := provider.FromFlags("connect-go")
	mux := http.NewServeMux()
	mux.Handle(genconnect.NewCapacityProviderHandler(
		implementation, connect.WithInterceptors(connect.UnaryInterceptorFunc(refusals)),
	))
	mux.Handle(grpchealth.NewHandler(grpchealth.NewStaticChecker()))

	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)

	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		<-terminated
		server.Close()
	}()
	fmt.Printf("serving %s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
