"""`python -m demo`: the whole pipeline on this machine, without Docker, until Ctrl-C or for `DEMO_SECONDS`."""

import os
import signal
import sys

from common.command_line import command_parser


def main() -> int:
    """Run the demo and return its exit code: 0 unless something failed or the ledger does not balance."""
    # Loading takes half a second, in which a Ctrl-C is no reason for a traceback: nothing runs yet.
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    command_parser("python -m demo", "Runs the whole pipeline on this machine, without Docker.").parse_args()
    from demo import run  # noqa: PLC0415

    return run.run()


if __name__ == "__main__":
    sys.exit(main())
