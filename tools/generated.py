"""`python -m tools.generated [--check]`: writes the generated files, or lists those that are out of date.

Generated are the stubs beside the proto, and the documents made from the code.
"""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = Path("bigfleet/v1alpha1/provider.proto")


def stubs() -> dict[Path, str]:
    """Returns the stubs that grpcio-tools generates now, by their path in the checkout."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        well_known = str(importlib.resources.files("grpc_tools") / "_proto")
        arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}"]
        arguments += [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}", str(PROTO)]
        if protoc.main(arguments) != 0:
            raise SystemExit("the stubs cannot be generated")
        return {
            Path("proto") / stub.relative_to(out): stub.read_text(encoding="utf-8")
            for stub in sorted(out.rglob("*.py*"))
        }


def generated() -> dict[Path, str]:
    """Returns the content of every generated file, by its path in the checkout."""
    import selftest.mutants  # noqa: F401  # registers them
    from conformance import lanes
    from conformance.reporters import catalogue as document
    from conformance.reporters import profiles_document
    from selftest import matrix
    from selftest.mutant import MUTANTS
    from tools import stacks

    return {
        **stubs(),
        Path("docs/catalogue.md"): document.render(lanes.whole_catalogue()),
        Path("docs/profiles.md"): profiles_document.render(lanes.whole_catalogue()),
        Path("docs/kill-matrix.md"): matrix.markdown(MUTANTS),
        Path("docs/stacks.md"): stacks.document(),
    }


def stale() -> list[Path]:
    """Returns the generated files that are out of date."""
    return [
        path
        for path, content in generated().items()
        if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != content
    ]


def main(arguments: list[str]) -> int:
    """Writes or checks the files; returns 1 if one is out of date."""
    if arguments == ["--check"]:
        paths = stale()
        for path in paths:
            print(f"{path} is out of date: make generate")
        return 1 if paths else 0
    for path, content in generated().items():
        (ROOT / path).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
