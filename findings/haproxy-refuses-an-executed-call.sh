#!/usr/bin/env bash
# HAProxy 2.6.12 and grpc-go 1.85.0: the server executes one call of the client twice, without any retry policy.
#
# If a gRPC server has executed a call and its connection to HAProxy ends before the answer (a crash, a restart, a limit
# of requests per connection), HAProxy resets the client's stream with REFUSED_STREAM. RFC 9113 (8.7) has this code for
# requests that were not processed, and grpc-go relies on it: it sends the call again by itself ("transparent retry").
# The server executes the call a second time, and the client sees one OK. In the same place nginx and Caddy answer HTTP
# 502, and Envoy UNAVAILABLE, which grpc-go does not repeat by itself. A server is safe only if it knows repeated calls by
# something in the request, such as a fencing token.
#
# grpcio 1.85.1 does not repeat such a call. In grpc-go the dial option WithDisableRetry does not help.
#
# Output seen on 2026-11-30:
#   default: OK, executed 2 times
#   WithDisableRetry: OK, executed 2 times
set -euo pipefail

PATH="$PATH:/usr/sbin"
command -v haproxy >/dev/null || { echo "needs haproxy: apt-get install --no-install-recommends haproxy" >&2; exit 2; }
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > go.mod <<'MOD'
module twice

go 1.25.0

require (
	golang.org/x/net v0.60.0
	google.golang.org/grpc v1.85.0
)
MOD
cat > main.go <<'GO'
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

var executed atomic.Int32

// answer executes every request. The first one is lost with its connection; each later one is answered OK.
func answer(connection net.Conn) {
	defer connection.Close()
	if _, err := io.ReadFull(connection, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(connection, connection)
	framer.WriteSettings()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				framer.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if !frame.StreamEnded() {
				continue
			}
			if executed.Add(1) == 1 {
				return
			}
			fields := func(end bool, pairs ...string) {
				var block bytes.Buffer
				encoder := hpack.NewEncoder(&block)
				for at := 0; at < len(pairs); at += 2 {
					encoder.WriteField(hpack.HeaderField{Name: pairs[at], Value: pairs[at+1]})
				}
				framer.WriteHeaders(http2.HeadersFrameParam{
					StreamID: frame.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end,
				})
			}
			fields(false, ":status", "200", "content-type", "application/grpc")
			framer.WriteData(frame.StreamID, false, make([]byte, 5))
			fields(true, "grpc-status", "0")
		}
	}
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return listener
}

func main() {
	server := listen()
	go func() {
		for {
			connection, err := server.Accept()
			if err != nil {
				return
			}
			go answer(connection)
		}
	}()
	free := listen()
	address := free.Addr().String()
	free.Close()
	config := fmt.Sprintf(`
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen proxy
  bind %s proto h2
  server one %s proto h2
`, address, server.Addr())
	if err := os.WriteFile("haproxy.cfg", []byte(config), 0o600); err != nil {
		panic(err)
	}
	haproxy := exec.Command("haproxy", "-db", "-f", "haproxy.cfg")
	if err := haproxy.Start(); err != nil {
		panic(err)
	}
	defer haproxy.Process.Kill()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy()}
	if len(os.Args) > 1 {
		options = append(options, grpc.WithDisableRetry())
	}
	channel, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		panic(err)
	}
	defer channel.Close()
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = channel.Invoke(limited, "/shop.Shop/Buy", &emptypb.Empty{}, &emptypb.Empty{}, grpc.WaitForReady(true))
	fmt.Printf("%v, executed %d times\n", status.Code(err), executed.Load())
}
GO
export GOFLAGS=-mod=mod
go mod tidy 2>/dev/null
go build -o twice .
seen=$(
  printf 'default: '; ./twice
  printf 'WithDisableRetry: '; ./twice no-retries
)
echo "$seen"
expected='default: OK, executed 2 times
WithDisableRetry: OK, executed 2 times'
[ "$seen" = "$expected" ] || { echo "this has changed" >&2; exit 1; }
