"""`python -m tools.generated [--check]`: make what is generated, or say what is stale.

The stubs beside the proto, and the documents that are written from the code.
"""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = Path("bigfleet/v1alpha1/provider.proto")


def stubs() -> dict[Path, str]:
    """The stubs as grpcio-tools makes them now, by their path in the checkout."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        well_known = str(importlib.resources.files("grpc_tools") / "_proto")
        arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}"]
        arguments += [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}", str(PROTO)]
        if protoc.main(arguments) != 0:
            raise SystemExit("the stubs cannot be generated")
        return {
            Path("proto") / made.relative_to(out): made.read_text(encoding="utf-8")
            for made in sorted(out.rglob("*.py*"))
        }


def generated() -> dict[Path, str]:
    """Every generated file, by its path in the checkout."""
    import selftest.mutants  # noqa: F401  # registers them
    from conformance.core import catalogue
    from conformance.reporters import catalogue as document
    from selftest import matrix
    from selftest.mutant import MUTANTS

    return {
        **stubs(),
        Path("docs/catalogue.md"): document.render(catalogue.load()),
        Path("docs/kill-matrix.md"): matrix.markdown(MUTANTS),
    }


def stale() -> list[Path]:
    """The generated files that are not as they would be generated now."""
    return [
        path
        for path, content in generated().items()
        if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != content
    ]


def main(arguments: list[str]) -> int:
    """Write or check; 1 where something is stale."""
    if arguments == ["--check"]:
        paths = stale()
        for path in paths:
            print(f"{path} is stale: make generate")
        return 1 if paths else 0
    for path, content in generated().items():
        (ROOT / path).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
