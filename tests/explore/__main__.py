"""`python -m tests.explore --seconds 3600 --faults 2`: run schedules of these bounds; print the first wrong one."""

import argparse
import sys

from tests.explore.scheduler import scheduled
from tests.explore.search import explore
from tests.explore.world import Bounds


def main() -> int:
    """Return 1 if a schedule is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long, at most; by default ten minutes")
    parser.add_argument("--records", type=int, nargs="+", default=[3, 1], help="of each partition")
    parser.add_argument("--consumers", type=int, default=2, help="at most three")
    parser.add_argument("--writers", type=int, default=2, help="of each consumer")
    parser.add_argument("--faults", type=int, default=0, help="calls that fail, or whose answer is lost or late")
    parser.add_argument("--moves", type=int, default=0, help="partitions that are revoked and move")
    parser.add_argument("--losses", type=int, default=0, help="partitions that move before their owner knows")
    parser.add_argument("--remakes", type=int, default=0, help="the topic is made again; at most once", choices=[0, 1])
    parser.add_argument("--stops", type=int, default=0, help="consumers that are asked to stop")
    parser.add_argument("--kills", type=int, default=0, help="consumers that are killed and start again")
    given = vars(parser.parse_args())
    seconds = given.pop("seconds")
    with scheduled():
        result = explore(Bounds(**{**given, "records": tuple(given["records"])}), seconds=seconds)
        print(
            f"{result.runs} runs, {len(result.following)} states, {result.schedules():.1e} schedules,"
            f" {result.seconds:.0f} s{', complete' if result.is_complete else ''}"
        )
        if result.found:
            print(result.found.story())
    return 1 if result.found else 0


if __name__ == "__main__":
    sys.exit(main())
