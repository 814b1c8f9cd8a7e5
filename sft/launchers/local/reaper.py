"""Kill the remaining processes of a group whose leader may have ended, after a grace period.

    python -m sft.launchers.local.reaper GROUP DEADLINE [PID:BORN…]

GROUP is the id of the group and of its leader. DEADLINE is the time at which the group is killed. The other arguments
are descendants in any group, with their birth times, as ids may be reused. Both times are of clocks that changes of the
date do not affect. It exits as soon as only the leader is left, which ends by itself.
"""

from __future__ import annotations

import sys
import time

from sft.launchers.local.process_group import ProcessGroup

SECONDS_BETWEEN_CHECKS = 0.1


def main() -> None:
    """Wait until the deadline for the processes to end, then kill them."""
    number, deadline, *members = sys.argv[1:]
    group = ProcessGroup(int(number))
    for member in members:
        pid, born = member.split(":")
        group.note(int(pid), float(born))
    while group.others_alive():
        if time.monotonic() >= float(deadline):
            group.end_all()
            return
        time.sleep(SECONDS_BETWEEN_CHECKS)


if __name__ == "__main__":
    main()
