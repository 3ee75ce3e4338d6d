#!/usr/bin/env bash
# grpcio 1.85.1: the proxy of the environment is used for the loopback address too, and no_proxy=* does not stop that.
#
# curl and Python's urllib take no_proxy=* for "no proxy at all". grpcio compares the host with the literal star, so a
# client on a machine with a company's http_proxy cannot reach a server in its own process: the CONNECT goes to the
# proxy. Naming the address (no_proxy=127.0.0.1), or the channel option grpc.enable_http_proxy=0, helps.
#
# Output seen on 2026-11-30 (nothing listens where http_proxy points to):
#   no_proxy=*: not connected
#   no_proxy=127.0.0.1: connected
#   grpc.enable_http_proxy=0: connected
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.1
cat > "$folder/connect.py" <<'PYTHON'
import os
import socket
import sys
from concurrent import futures

import grpc

with socket.socket() as unused:  # a port on which nothing listens
    unused.bind(("127.0.0.1", 0))
    os.environ["http_proxy"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
os.environ["no_proxy"] = sys.argv[1]
options = [("grpc.enable_http_proxy", 0)] if "direct" in sys.argv else []

server = grpc.server(futures.ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
try:
    grpc.channel_ready_future(channel).result(timeout=5)
    print("connected")
except grpc.FutureTimeoutError:
    print("not connected")
channel.close()
server.stop(None)
PYTHON
export GRPC_VERBOSITY=NONE
seen=$(
  printf 'no_proxy=*: '; "$folder/venv/bin/python" "$folder/connect.py" '*'
  printf 'no_proxy=127.0.0.1: '; "$folder/venv/bin/python" "$folder/connect.py" 127.0.0.1
  printf 'grpc.enable_http_proxy=0: '; "$folder/venv/bin/python" "$folder/connect.py" '*' direct
)
echo "$seen"
expected='no_proxy=*: not connected
no_proxy=127.0.0.1: connected
grpc.enable_http_proxy=0: connected'
[ "$seen" = "$expected" ] || { echo "this has changed" >&2; exit 1; }
