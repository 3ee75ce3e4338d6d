"""`python scales.py FILE COMMAND…`: runs a command, writes the most memory it ever had, in MB, and ends as it did.

A process of its own, as what a child weighs is counted from the fork on, with all that its parent has.
"""

import os
import sys

file, *command = sys.argv[1:]
child = os.posix_spawn(command[0], command, os.environ)
_, status, used = os.wait4(child, 0)
with open(file, "w", encoding="ascii") as scales:  # noqa: PTH123  # pathlib alone would weigh more than this
    scales.write(f"{used.ru_maxrss / 1024:.1f}")
sys.exit(os.waitstatus_to_exitcode(status))
