"""`python -m tests.explore --seconds 3600 --faults 2`: run schedules of these bounds; print the first wrong one."""

import argparse
import sys
from dataclasses import fields

from tests.explore.scheduler import scheduled
from tests.explore.search import explore
from tests.explore.world import Bounds


def main() -> int:
    """Return 1 if a schedule is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--records", type=int, nargs="+", default=[3, 1], help="of each partition")
    numbers = [one.name for one in fields(Bounds) if one.name != "records"]
    for name in numbers:
        parser.add_argument(f"--{name}", type=int, default=getattr(Bounds, name))
    given = parser.parse_args()
    bounds = Bounds(tuple(given.records), **{name: getattr(given, name) for name in numbers})
    with scheduled():
        result = explore(bounds, seconds=given.seconds)
        print(result)
        if result.found:
            print(result.found.story())
    return 1 if result.found else 0


if __name__ == "__main__":
    sys.exit(main())
