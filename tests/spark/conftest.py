"""Spark as a service of the tests: `start_spark()`, and a second database for the other engine."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from local.postgres import PostgresServer
from local.service import Service
from tests.conftest import StartService, clone_database
from tests.pipeline import Database

collect_ignore_glob = [] if find_spec("pyspark") else ["test_*"]  # `make spark-test` installs it

StartSpark = Callable[..., Service]


@pytest.fixture
def start_spark(start: StartService, tmp_path: Path) -> StartSpark:
    """Start it as a person would; its own warnings are not ours to mend, and what a killed Java leaves is removed."""
    own = {
        "PYTHONWARNINGS": "",
        "JDK_JAVA_OPTIONS": f"-Djava.io.tmpdir={tmp_path}",
        "SPARK_LOCAL_DIRS": str(tmp_path),
    }
    return lambda **settings: start("local.spark", **own, **settings)


@pytest.fixture
def other_database(postgres_server: PostgresServer) -> Iterator[Database]:
    cloned = clone_database(postgres_server)
    yield cloned
    cloned.drop()
