"""Ends what is left of a group of processes that nobody watches over any more, once they have had time to end.

    python -m sft.launchers.local.reaper GROUP DEADLINE [PID:BORN…]

GROUP is the number of the group and of its leader, DEADLINE the time at which it is ended; the others are descendants,
wherever they have gone, with the time at which they were born: the number may be another process's by then. Both times
are of clocks that setting the date does not move. Ends itself as soon as nobody but the leader is left, which sees to
itself.
"""

from __future__ import annotations

import sys
import time

from sft.launchers.local.process_group import ProcessGroup

SECONDS_BETWEEN_LOOKS = 0.1


def main() -> None:
    """Wait for them to end, and end those that have not."""
    number, deadline, *members = sys.argv[1:]
    group = ProcessGroup(int(number))
    for member in members:
        pid, born = member.split(":")
        group.note(int(pid), float(born))
    while group.others_live():
        if time.monotonic() >= float(deadline):
            group.end_rest()
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


if __name__ == "__main__":
    main()
