"""Kafka's jars are fetched once, whole and unchanged, from a repository that may fail in the middle."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local import jars
from local.errors import LocalServerError

CONTENT = {f"part-{number}-1.0.jar": bytes([number]) * 100_000 for number in range(5)}


class Repository(ThreadingHTTPServer):
    """A Maven repository on loopback that counts what it serves and breaks off when told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.served: list[str] = []
        self.break_off: dict[str, int] = {}  # how often, by file


class Handler(BaseHTTPRequestHandler):
    """Answers for the repository."""

    server: Repository

    def do_GET(self) -> None:
        """Return the file, or half of it."""
        name = self.path.rpartition("/")[2]
        content = CONTENT.get(name, b"")
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.break_off.get(name, 0):
            self.server.break_off[name] -= 1
            content = content[:50_000]
        self.wfile.write(content)
        if content:
            self.server.served.append(name)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """The jars pinned are the repository's, and jgo's settings name it as a mirror."""
    with Repository() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\nmirror = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        pins = tmp_path / "pins.txt"
        pins.write_text(
            "".join(
                f"test:{name.removesuffix('-1.0.jar')}:1.0 {hashlib.sha256(jar).hexdigest()}\n"
                for name, jar in CONTENT.items()
            )
        )
        monkeypatch.setattr(jars, "PINS", pins)
        yield server
        server.shutdown()


def kept(folder: Path) -> dict[str, bytes]:
    """Return the jars a folder holds, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.jar")}


def test_jars_are_fetched_once(repository: Repository, tmp_path: Path) -> None:
    """A second start sends no request."""
    paths = jars.ensure(tmp_path / "jars")
    again = jars.ensure(tmp_path / "jars")

    assert kept(tmp_path / "jars") == CONTENT
    assert paths == again == sorted(paths)
    assert sorted(repository.served) == sorted(CONTENT)


def test_broken_connection_is_tried_again(repository: Repository, tmp_path: Path) -> None:
    """One dropped connection among fifty downloads is ordinary."""
    repository.break_off = {"part-3-1.0.jar": 2}

    jars.ensure(tmp_path / "jars")

    assert kept(tmp_path / "jars") == CONTENT


def test_interrupted_fetch_is_resumed(repository: Repository, tmp_path: Path) -> None:
    """What is here is not fetched again, and half a jar is never taken for a whole one."""
    repository.break_off = {"part-3-1.0.jar": 3}
    with pytest.raises(LocalServerError, match=r"cannot fetch part-3-1.0.jar: .*\nHINT: "):
        jars.ensure(tmp_path / "jars")
    halfway = kept(tmp_path / "jars")
    repository.served.clear()

    jars.ensure(tmp_path / "jars")

    assert halfway == {name: jar for name, jar in CONTENT.items() if name < "part-3"}
    assert kept(tmp_path / "jars") == CONTENT
    assert sorted(repository.served) == ["part-3-1.0.jar", "part-4-1.0.jar"]


def test_left_overs_of_a_killed_fetch_are_removed(repository: Repository, tmp_path: Path) -> None:
    """SIGKILL leaves half a jar in a folder of its own, which is not used again."""
    (tmp_path / "jars" / "part-left").mkdir(parents=True)

    jars.ensure(tmp_path / "jars")

    assert not [path for path in (tmp_path / "jars").iterdir() if path.is_dir()]
    assert len(repository.served) == len(CONTENT)


def test_jar_with_another_checksum_is_refused(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs is what was pinned."""
    monkeypatch.setitem(CONTENT, "part-2-1.0.jar", b"something else")

    with pytest.raises(LocalServerError, match=r"cannot use part-2-1.0.jar: its SHA-256 is "):
        jars.ensure(tmp_path / "jars")
    assert "part-2-1.0.jar" not in kept(tmp_path / "jars")
    assert "part-2-1.0.jar" in repository.served


def test_no_network_is_one_line_and_a_hint(repository: Repository, tmp_path: Path) -> None:
    """The first start on a train says what it needs."""
    repository.server_close()

    with pytest.raises(LocalServerError, match=r"^cannot fetch part-0-1.0.jar: ConnectionError\nHINT: .*network"):
        jars.ensure(tmp_path / "jars")


def test_two_processes_fetch_each_jar_once(repository: Repository, tmp_path: Path) -> None:
    """The demo and the tests may meet on a fresh clone."""
    code = "import sys; from pathlib import Path; from local import jars; jars.PINS = Path(sys.argv[1]);"
    code += "jars.ensure(Path(sys.argv[2]))"
    command = [sys.executable, "-c", code, str(jars.PINS), str(tmp_path / "jars")]
    fetchers = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}) for _ in range(2)]

    assert [fetcher.wait(30) for fetcher in fetchers] == [0, 0]
    assert kept(tmp_path / "jars") == CONTENT
    assert sorted(repository.served) == sorted(CONTENT)


def test_pins_are_complete() -> None:
    """Each jar of the broker has a checksum, and the binding that gives it a log is there."""
    pins = jars.read_pins()

    assert all(len(digest) == 64 for digest in pins.values())
    assert {"org.apache.kafka:kafka_2.13", "org.apache.logging.log4j:log4j-slf4j-impl"} < {
        coordinate.rpartition(":")[0] for coordinate in pins
    }
    assert len({jars.file_name(coordinate) for coordinate in pins}) == len(pins)
