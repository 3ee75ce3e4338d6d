"""`python peak_memory.py FILE COMMAND…`: runs a command, writes its peak memory in MB, and exits with its exit code.

This is a process of its own, because the peak memory of a child includes that of its parent at the fork.
"""

import os
import sys

file, *command = sys.argv[1:]
child = os.posix_spawn(command[0], command, os.environ)
_, status, used = os.wait4(child, 0)
with open(file, "w", encoding="ascii") as output:  # noqa: PTH123  # importing pathlib would take more memory than this
    output.write(f"{used.ru_maxrss / 1024:.1f}")
sys.exit(os.waitstatus_to_exitcode(status))
