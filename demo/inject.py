"""`python -m demo.inject WHAT`: one experiment of docs/lab.md on the running demo or compose stack."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from common.errors import ConfigError, HeartbeatError, OutageError
from common.settings import load, load_credentials
from common.settings_environment import read_environment
from demo.experiments import EXPERIMENTS, Place, run
from demo.lab import SOCKET, STALLED_S, STOPPED_S
from demo.run import read_ports
from local.service import ROOT

ALL: Final = ("kafka", "postgresql", "producer", "consumer")
# With compose: the command that breaks something, how many seconds it stays so, and the command that repairs it.
COMPOSE: Final[Mapping[str, tuple[Sequence[str], float, Sequence[str]]]] = {
    "kill": (("kill", "consumer"), 3.0, ("start", "consumer")),
    "stall": (("pause", "consumer"), STALLED_S, ("unpause", "consumer")),
    "postgresql": (("stop", "postgresql"), STOPPED_S, ("start", "postgresql")),
    "machine": (("kill", *ALL), 3.0, ("start", *ALL)),
}


def main(arguments: Sequence[str]) -> int:
    """Do one experiment and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        os.chdir(ROOT)
        inject(arguments[0] if arguments else "")
    except HeartbeatError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def inject(what: str) -> None:
    """
    Do an experiment on what runs here, and print what it does, what to look at, and that it is done.

    Raises:
        ConfigError: There is no such experiment, or a setting is wrong.
        OutageError: Nothing runs here, or the experiment cannot be done.
    """
    if what not in EXPERIMENTS:
        raise ConfigError(
            f"WHAT: must be one of {', '.join(EXPERIMENTS)} (got {what!r})", hint="For example: make inject WHAT=kill."
        )
    experiment = EXPERIMENTS[what]
    settings, login, ports = load(Path("config.yml")), load_credentials(), read_ports(read_environment())
    began = time.monotonic()
    demo = _connect()
    if demo is None and not _compose_runs():
        raise OutageError(
            "there is nothing to break: neither the demo nor the compose stack runs",
            hint="Run `make demo` in another terminal, and this again when it shows rows.",
        )
    print(experiment.does if demo or experiment.run else _said(what))
    print(f"look at: {experiment.look}", flush=True)
    if demo:
        servers, port = _ask(demo, what)
    else:
        servers, port = f"localhost:{ports['KAFKA_PORT']}", ports["POSTGRESQL_PORT"]
        if experiment.run is None:
            _break_and_repair(what)
    run(experiment, Place(servers, port, login, settings))
    print(f"done after {time.monotonic() - began:.1f} s")


def _connect() -> socket.socket | None:
    demo = socket.socket(socket.AF_UNIX)
    try:
        demo.connect(str(SOCKET))
    except OSError:  # no demo, or one that was killed
        demo.close()
        return None
    return demo


def _ask(demo: socket.socket, what: str) -> tuple[str, int]:
    """Let the demo do its part, and return the addresses of its servers."""
    with demo, demo.makefile("rb") as answers:
        demo.sendall(f"{what}\n".encode())
        said = answers.read()
    if not said:
        raise OutageError("the demo ended meanwhile", hint="Its last lines say why.")
    answer = json.loads(said)
    if "error" in answer:
        raise OutageError(answer["error"], hint=answer["hint"])
    return answer["bootstrap_servers"], answer["port"]


def _compose_runs() -> bool:
    if (docker := shutil.which("docker")) is None:
        return False
    listed = subprocess.run(  # noqa: S603 - docker, with words of our own
        [docker, "compose", "ps", "--services", "--status", "running"], capture_output=True, text=True, check=False
    )
    return set(ALL) <= set(listed.stdout.split())


def _said(what: str) -> str:
    breaks, seconds, repairs = COMPOSE[what]
    return f"docker compose {' '.join(breaks)}; after {seconds:.0f} s docker compose {' '.join(repairs)}"


def _break_and_repair(what: str) -> None:
    breaks, seconds, repairs = COMPOSE[what]
    try:
        _compose(breaks)
        time.sleep(seconds)
    finally:
        _compose(repairs)


def _compose(arguments: Sequence[str]) -> None:
    docker = shutil.which("docker") or "docker"
    done = subprocess.run(  # noqa: S603 - docker, with words of our own
        [docker, "compose", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OutageError(
            f"cannot run docker compose {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1:]}",
            hint="Run it by hand.",
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
