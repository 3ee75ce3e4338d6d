"""`python -m tools.soak [DURATION]`: the scale lane on a fake of 1,000 machines in another process. `make soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.provider_process import serving

PROVIDER = ("--machines", "1000", "--latency", "5ms..50ms")
LANE = ("--lane", "scale", "--max-machines", "64", "--max-creates", "5000", "--budget", "list.p99=500ms")


def main(soak: str = "5m") -> int:
    """Runs the scale lane for the duration `soak`; returns the kit's exit code."""
    program = str(Path(sys.executable).with_name("conformance-run"))
    with serving(*PROVIDER) as provider:
        command = [program, "--no-config", "--target", provider.address, *LANE, "--soak", soak]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
