"""docs/promises.md names what exists: columns with their types, reasons, settings, exit codes."""

import re
from typing import Final

import psycopg
import pytest

from common.errors import ConfigError, HeartbeatError, LedgerError, StoppedError
from common.settings import Settings
from consumer.__main__ import COMMANDS, main
from contracts.fields import Integer, Text, Timestamp
from contracts.heartbeats import HEARTBEATS
from store.reasons import Reason
from tests.documents import ROOT, code
from tests.pipeline import Database

PAGE: Final = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
TYPES: Final = {"character varying": "varchar", "timestamp with time zone": "timestamptz"}


def section(heading: str) -> str:
    """Return the text below a heading."""
    return PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.integration
def test_promised_columns_exist_with_their_types(database: Database) -> None:
    """A renamed column breaks each query, script and report that somebody wrote."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section("Data"), re.MULTILINE)
    promised = {table: set(re.findall(r"`(\w+)` (\w+)", columns)) for table, columns in rows}
    with psycopg.connect(database.conninfo) as connection:
        found = {
            table: {
                (name, TYPES.get(kind, kind))
                for name, kind in connection.execute(
                    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", [table]
                )
            }
            for table in promised
        }

    assert promised.keys() == {"heartbeats", "rejected_heartbeats", "alarms", "patient_heartbeats"}
    assert {table: columns - found[table] for table, columns in promised.items()} == {table: set() for table in found}


def test_promised_reasons_are_those_of_the_heartbeat() -> None:
    """A renamed reason would split the counts of those who group by it; the faults of a kind are in another table."""
    table = (ROOT / "docs" / "your-own-event.md").read_text(encoding="utf-8")
    faults = {kind: set(code(row)) for kind, row in re.findall(r"^\| `(\w+)` \|.*\|([^|]+)\|$", table, re.MULTILINE)}
    asked = {Text: {"pattern", "choice"}, Timestamp: set(), Integer: set()}  # faults that only a contract with them has
    reasons = {
        f"{field.name}_{fault}"
        for field in HEARTBEATS.fields
        for fault in (faults[type(field).__name__] - asked[type(field)]) | {"missing"}
    }

    assert set(code(section("Reasons in quarantine").split("\n\n")[-1])) - {
        field.name for field in HEARTBEATS.fields
    } == reasons | set(Reason)


def test_promised_settings_exist() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section("Settings"), re.MULTILINE)
    promised = {name: set(code(keys)) for name, keys in rows}
    fields = {name: set(field.annotation.model_fields) for name, field in Settings.model_fields.items()}  # type: ignore[union-attr]  # each section is a model

    assert promised.keys() == fields.keys()
    assert {name: keys - fields[name] for name, keys in promised.items()} == {name: set() for name in fields}


def test_promised_commands_have_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    """A renamed option breaks the scripts that people run at night."""
    promised = section("Commands and exit codes").split("commands, each also with ")[1].split("\n\n")[0]
    _, *named = code(promised)
    options = {command: {"--json"} for command in named if " " not in command}
    for command, option in (both.split() for both in named if " " in both):
        options[command].add(option)
    helps = {}
    for command in options:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helps[command] = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))

    assert options.keys() == COMMANDS.keys()
    assert options == helps


def test_promised_exit_codes_are_those_of_the_errors() -> None:
    assert "exit codes 0, 1, 2, 3 and 130" in PAGE
    assert [error.exit_code for error in (HeartbeatError, ConfigError, LedgerError, StoppedError)] == [1, 2, 3, 130]
