"""One more field in the heartbeat: tests/one_more_field.patch on a copy of the project, and on a filled database."""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

import local.schema
import local.service
from local.postgres import PostgresServer
from local.schema import apply_schema
from local.service import ROOT
from local.waiting import wait_until
from tests.catalog import catalog
from tests.conftest import StartService
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

PATCH: Final = ROOT / "tests" / "one_more_field.patch"
LIMIT_LINES: Final = 40
MIGRATION: Final = "db/migrations/"  # the new file, whose number stays free for this test
ALSO: Final = {"producer/encoding.py", "grafana/dashboards/heartbeats.json"}  # the generator and a panel


@pytest.fixture
def patch_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Copy the project and apply the patch; from then on, schema and services are those of the copy."""

    def change() -> None:
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - the user's git
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if files.returncode != 0:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("the project is no git clone")
        copy = tmp_path / "project"
        for name in filter(lambda name: (ROOT / name).is_file(), files.stdout.rstrip("\0").split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        subprocess.run(["git", "apply", str(PATCH)], cwd=copy, check=True)  # noqa: S607 - the user's git
        monkeypatch.setattr(local.schema, "SCHEMA", copy / "db" / "schema.sql")
        monkeypatch.setattr(local.service, "ROOT", copy)

    return change


@pytest.fixture
def new_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database without any table."""
    made = Database(postgres_server, f"test_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {made.name}".encode())
    yield made
    made.drop()


def test_patch_is_short_and_changes_three_files() -> None:
    """A person who needs one more field must not have to understand the pipeline."""
    patch = PATCH.read_text(encoding="utf-8")
    files = set(re.findall(r"^\+\+\+ b/(.*)$", patch, re.MULTILINE)) - ALSO
    changed = re.findall(r"^[+-](?![+-]{2} )", patch, re.MULTILINE)

    assert {name for name in files if not name.startswith(MIGRATION)} == {"contracts/heartbeats.py", "db/schema.sql"}
    assert len(files) == 3
    assert len(changed) <= LIMIT_LINES


def test_filled_database_gets_the_field_and_keeps_its_rows(
    patch_copy: Callable[[], None], start: StartService, topic: Topic, database: Database, new_database: Database
) -> None:
    """The older consumer runs on during the upgrade. The new code stores the field, and NULL where it is missing."""
    topic.create()
    topic.send_heartbeats(300)
    older = start("consumer")
    wait_until(lambda: database.count() == 300, what="the older rows")
    patch_copy()
    early = start("consumer")
    assert early.wait() == 2
    assert "column device is missing" in early.text()
    apply_schema(database.server, database.name)
    apply_schema(new_database.server, new_database.name)
    assert catalog(database) ^ catalog(new_database) == set()
    topic.send_heartbeats(100, seed=8)
    wait_until(lambda: database.count() == 400, what="rows of the older consumer after the upgrade")
    assert older.stop() == 0

    without = b'{"customer_id": "a", "timestamp": "2026-01-01T00:00:00Z", "heart_rate": 70'
    topic.send([(b"a", without + b"}"), (b"b", without + b', "device": "%b"}' % (b"x" * 33))])
    producer, consumer = start("producer"), start("consumer")
    wait_until(lambda: database.query("SELECT id FROM heartbeats WHERE device = 'watch' LIMIT 1"), what="the new field")
    assert producer.stop() == 0
    wait_until(lambda: database.passed() == topic.ends(), what="everything read")
    assert consumer.stop() == 0

    assert database.query("SELECT count(*) FROM heartbeats WHERE device IS NULL") == [(401,)]
    assert [(reason, key) for reason, key, _ in database.rejected()] == [("device_length", b"b")]
    verify = start("consumer", "verify", "--full")
    assert verify.wait() == 0
    assert "the ledger balances" in verify.text()
