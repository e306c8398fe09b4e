"""`make inject` without anything to break, with a wrong word, and on a compose stack."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from demo.experiments import EXPERIMENTS
from demo.inject import COMPOSE
from tests.demo import copy_project
from tests.documents import ROOT

# Says that these services run, and writes down what else it was asked for.
DOCKER = """#!/bin/sh
case "$*" in "compose ps --services --status running") printf 'kafka\\npostgresql\\nproducer\\nconsumer\\n'; exit;; esac
echo "$@" >> "{log}"
"""


Inject = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def inject(tmp_path: Path) -> Inject:
    """Return a function that runs the command in a copy of the project: a person's own demo is left alone."""
    return partial(run, copy_project(tmp_path))


def run(folder: Path, *arguments: str, path: str = "/nowhere") -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "demo.inject", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("",), ("kil",)])
def test_wrong_word_gets_one_line_with_the_list_and_a_hint(inject: Inject, arguments: tuple[str, ...]) -> None:
    done = inject(*arguments)

    line, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line == f"WHAT: must be one of {', '.join(EXPERIMENTS)} (got {''.join(arguments)!r})"
    assert hint == "HINT: For example: make inject WHAT=kill."


def test_nothing_to_break_is_said_in_one_line(inject: Inject) -> None:
    done = inject("kill")

    line, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line == "there is nothing to break: neither the demo nor the compose stack runs"
    assert hint.startswith("HINT: Run `make demo` in another terminal")


def test_on_compose_its_own_commands_break_and_repair(inject: Inject, tmp_path: Path) -> None:
    """A person reads what was run, and can run it by hand."""
    docker, log = tmp_path / "docker", tmp_path / "log"
    docker.write_text(DOCKER.format(log=log))
    docker.chmod(0o755)

    done = inject("kill", path=f"{tmp_path}:/bin:/usr/bin")

    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines() == ["compose kill consumer", "compose start consumer"]
    first, second, third = done.stdout.splitlines()
    assert first == "docker compose kill consumer; after 3 s docker compose start consumer"
    assert second.startswith("look at: ")
    assert third.startswith("done after 3.")


def test_compose_can_do_what_the_demo_does_by_itself() -> None:
    """An experiment without a function of its own needs the one or the other."""
    assert {what for what, experiment in EXPERIMENTS.items() if experiment.run is None} == COMPOSE.keys()


def test_make_hands_the_word_over() -> None:
    said = subprocess.run(
        ["make", "-n", "inject", "WHAT=kill"],  # noqa: S607 - as a person calls it
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "python -m demo.inject 'kill'" in said
