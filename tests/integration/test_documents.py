"""The documents' commands and SQL run as they are written, and print what is shown beneath them."""

import json
import re
import shlex

import psycopg
import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.documents import PAGES, ROOT, blocks, code, section_commands, shape
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"


def test_commands_of_the_readme_print_what_it_shows(start: StartService, topic: Topic, database: Database) -> None:
    """The section "By hand": log lines have the fields that are shown, `verify` prints the header and the sum."""
    by_hand = next(block for block in blocks(README, "console") if "export HEARTBEAT_" in block)
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^\$ python -m (.*)$", by_hand, re.MULTILINE)]
    lines = {
        line["event"]: line.keys()
        for block in blocks(README, "json")
        for line in map(json.loads, block.splitlines())
        if "event" in line
    }
    services = [start(*command) for command in commands if len(command) == 1]
    for service, event in zip(services, ("Sent", "Stored"), strict=True):
        wait_until(lambda: list(service.events(event)), what=event)  # noqa: B023
        assert next(service.events(event)).keys() == lines[event]
        assert service.stop() == 0

    printed: list[str] = []
    for command in (command for command in commands if len(command) > 1):
        service = start(*command)
        assert service.wait() == 0
        printed += map(shape, service.text().splitlines())
    shown = next(block for block in blocks(README, "text") if "in Kafka beyond" in block).splitlines()

    first, last = (next(n for n, line in enumerate(shown) if part in line) for part in ("in Kafka beyond", "balances:"))
    table = shown[first : last + 1]  # the demo says more after it
    assert {shape(line.replace("heartbeats#", f"{topic.name}#")) for line in table} - {"..."} <= set(printed)
    assert database.count() > 0


def test_sql_of_the_documents_runs_and_the_table_has_the_columns_shown(database: Database) -> None:
    """A statement with an ellipsis or a placeholder is for a person to complete; all others run as the owner."""
    spans = {span for page in PAGES for span in code(page.read_text(encoding="utf-8"))}
    inline = {span for span in spans if re.match(r"(SELECT|UPDATE|TRUNCATE|REVOKE) .*[a-z]", span)}
    fenced = [line.strip() for block in blocks(README, "sql") for line in block.splitlines()]
    header = next(block for block in blocks(README, "text") if "customer_id" in block).splitlines()[0]
    columns = {}
    with psycopg.connect(database.conninfo) as connection:
        for statement in (*fenced, *sorted(span for span in inline if "…" not in span and "(begins" not in span)):
            with connection.transaction(force_rollback=True):
                cursor = connection.execute(statement.encode())
                columns[statement] = [column.name for column in cursor.description or ()]

    assert len(fenced) >= 7
    assert len(inline) >= 5
    assert columns["SELECT * FROM heartbeats ORDER BY timestamp DESC LIMIT 10;"] == header.split()[::2]


def test_command_that_hands_data_out_writes_the_rows_of_one_day(database: Database) -> None:
    """Data that goes to others must be neither less nor more than the day that they asked for."""
    command = shlex.split(section_commands(OPERATIONS, "Hand data out"))
    database.query(
        "INSERT INTO heartbeats (customer_id, timestamp, heart_rate) VALUES ('A', '2026-11-21 23:59:59.9Z', 1),"
        " ('B', '2026-11-22 00:00Z', 2), ('C', '2026-11-22 23:59:59.9Z', 3), ('D', '2026-11-23 00:00Z', 4)"
    )
    with database.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        with connection.cursor().copy(command[command.index("-c") + 1].encode()) as copied:
            lines = b"".join(copied).decode().splitlines()

    assert lines[0] == "customer_id,timestamp,heart_rate"
    assert sorted(lines[1:]) == ["B,2026-11-22 00:00:00+00,2", "C,2026-11-22 23:59:59.9+00,3"]


def test_statement_that_lists_the_days_to_be_dropped_is_a_day_early(database: Database) -> None:
    """A person needs time to keep a day: with the setting itself, maintenance drops it within a minute."""
    statement = next(span for span in code(OPERATIONS.read_text(encoding="utf-8")) if "days_to_drop" in span)
    day = database.query("SELECT (now() AT TIME ZONE 'UTC')::date - 7")
    database.query("SELECT make_day('heartbeats', %s)", day[0][0])

    assert database.query(statement) == day
    assert database.query(statement.replace("6", "7")) == []
