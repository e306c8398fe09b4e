"""The command lines: their options, and errors that repeat no argument."""

import argparse
import re
from pathlib import Path
from typing import Final, NoReturn

from common.version import VERSION

# argparse's words before it repeats an argument.
_REPEATS: Final = re.compile(
    r"(unrecognized arguments|invalid choice|ambiguous option|ignored explicit argument).*?(?= \(choose from|$)",
    re.DOTALL,
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors never repeat an argument: it may be a password, and errors reach the container's log."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        super().error(_REPEATS.sub(r"\1", message))


def command_parser(program: str, description: str) -> Parser:
    """Return a parser with the options of every command."""
    parser = Parser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"heartbeat-pipeline {VERSION}")
    return parser


def service_parser(program: str, description: str) -> Parser:
    """Return a parser with the options of every service."""
    parser = command_parser(program, description)
    parser.add_argument("--config", type=Path, default=Path("config.yml"), help="settings file (default: %(default)s)")
    return parser
