"""`verify`, `replay` and `reread` as a person runs them: results on stdout, one line for a fault or Ctrl-C."""

import json
import signal
import socket
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from local.service import Service
from local.waiting import wait_until
from store import replay, rewrite
from store.session import Session
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.store import credentials_for, settings_on

pytestmark = pytest.mark.integration

FAR_AHEAD = {"HEARTBEAT_CONSUMER__MAX_FUTURE_S": "864000"}
MIB = 1024 * 1024


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def interrupt_while_it_waits(start: StartService, database: Database, lock: str, *arguments: str) -> Service:
    """Press Ctrl-C while the command waits for a lock that somebody else holds."""
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(database.conninfo) as other:
        other.execute(lock)
        command = start("consumer", *arguments, **FAR_AHEAD)
        wait_until(lambda: database.query(waits), what="the command waits for the lock")
        command.send_signal(signal.SIGINT)

        assert command.wait() == 130
    return command


def test_ctrl_c_in_replay_is_one_line_that_says_how_far_it_was(
    start: StartService, topic: Topic, database: Database
) -> None:
    """What was moved stays moved, so a person can go on later; no traceback, and shells see 128 + SIGINT."""
    topic.create()
    topic.send((row[0].encode(), encode(row)) for row in heartbeats(10, start=datetime.now(UTC) + timedelta(days=2)))
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    consumer.stop()
    command = interrupt_while_it_waits(start, database, replay.ONE_AT_A_TIME, "replay")

    (event,) = command.events()
    assert len(command.text().splitlines()) == 1
    assert event["error"] == "replay stopped: 0 messages moved to heartbeats so far"
    assert start("consumer", "verify", "--full").wait() == 0


def test_ctrl_c_in_reread_is_one_line_that_says_how_far_it_was(
    start: StartService, topic: Topic, database: Database
) -> None:
    """What was read again stays, and the rest is as it was."""
    topic.create()
    sent = topic.send_heartbeats(100)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    consumer.stop()
    arguments = ("reread", "--from", (datetime.now(UTC) - timedelta(hours=1)).isoformat())
    command = interrupt_while_it_waits(start, database, rewrite.ONE_AT_A_TIME, *arguments)

    (event,) = command.events()
    assert len(command.text().splitlines()) == 1
    assert event["error"] == "reread stopped: 0 offsets were read again so far"
    assert database.lost_and_surplus(sent) == ([], [])
    assert start("consumer", "verify", "--full").wait() == 0


def test_json_has_the_figures_of_the_lines(start: StartService, topic: Topic, database: Database) -> None:
    """A script must not read tables that are made for people."""
    topic.create()
    topic.send_heartbeats(100)
    topic.send([(b"k", b"broken")] * 10)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    consumer.stop()
    found = {}
    for name in ("verify", "replay", "reread"):
        options = {"verify": ["--full"], "reread": ["--from", "2026-01-01T00:00:00Z"]}.get(name, ["--dry-run"])
        command = start("consumer", name, "--json", *options)
        assert command.wait() == 0, command.text()
        found[name] = json.loads(command.text())

    assert (found["verify"]["balances"], found["verify"]["counted"], found["verify"]["faults"]) == (True, True, [])
    assert (found["verify"]["stored"], found["verify"]["rejected"], found["verify"]["passed"]) == (100, 10, 110)
    assert sum(one["stored"] for one in found["verify"]["partitions"]) == 100
    assert found["replay"] == {"dry_run": True, "moved": 0, "kept": {"not_json": 10}}
    assert (found["reread"]["offsets"], found["reread"]["rows_replaced"], found["reread"]["stored"]) == (110, 100, 100)


def test_ctrl_c_in_verify_is_one_line(start: StartService, topic: Topic, database: Database) -> None:
    """It only reads; a person who has no patience must not see a defect."""
    topic.create()
    lock = "LOCK TABLE kafka_ledger IN ACCESS EXCLUSIVE MODE"
    command = interrupt_while_it_waits(start, database, lock, "verify", "--full")

    (event,) = command.events()
    assert len(command.text().splitlines()) == 1
    assert event["error"] == "stopped by Ctrl-C"


def test_verify_without_a_broker_says_so_in_one_line(start: StartService) -> None:
    """The client's debug log (74 lines) appears only at the level debug."""
    command = start("consumer", "verify", HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")

    assert command.wait() == 1
    (event,) = command.events()
    assert len(command.text().splitlines()) == 1
    assert "cannot look up topic" in event["error"]
    assert "BOOTSTRAP_SERVERS" in event["hint"]


@pytest.mark.parametrize(
    "command", [["verify"], ["replay"], ["reread", "--from", "2026-01-01T00:00:00Z"]], ids=" ".join
)
def test_commands_without_a_database_say_so_in_one_line(command: list[str], start: StartService) -> None:
    """A command ends where a service waits, so that its hint must not promise to try again."""
    process = start("consumer", *command, HEARTBEAT_POSTGRESQL__PORT=free_port())

    assert process.wait() == 1
    (event,) = process.events()
    assert len(process.text().splitlines()) == 1
    assert "refused" in event["error"]
    assert "retry" not in event["hint"]


def test_level_of_the_settings_holds_for_commands(start: StartService) -> None:
    """The client's own log is available on request."""
    nowhere = f"127.0.0.1:{free_port()}"
    command = start("consumer", "verify", HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS=nowhere, HEARTBEAT_LOGGING__LEVEL="debug")

    assert command.wait() == 1
    assert any(command.events("librdkafka"))


def test_replay_takes_large_payloads_a_few_at_a_time(database: Database) -> None:
    """A thousand messages of 1 MiB would be 1 GiB; each is still looked at once, in the order of the ids."""
    sizes = [MIB] * 40 + [10] * 1500 + [20 * MIB, 1, 20 * MIB]
    with database.connect() as connection:
        for row_id, size in enumerate(sizes, 1):
            connection.execute(
                'INSERT INTO rejected_heartbeats (id, topic, partition, "offset", payload, payload_length, reason,'
                " appended_at) VALUES (%s, 't', 0, %s, %s, %s, 'not_json', now())",
                (row_id, row_id, b"x" * size, size),
            )
    session = Session(settings_on(database), credentials_for(database), "heartbeat-replay")
    chunks, after = [], -1
    while taken := session.run("take", lambda conn: replay._take(conn, after, None, "heartbeats")):  # noqa: B023, SLF001
        chunks.append(taken)
        after = taken[-1].row_id
    session.close()

    assert [one.row_id for chunk in chunks for one in chunk] == list(range(1, len(sizes) + 1))
    assert [len(one.payload) for chunk in chunks for one in chunk] == sizes
    assert max(len(chunk) for chunk in chunks) == 1000
    assert all(sum(len(one.payload) for one in chunk[:-1]) < 16 * MIB for chunk in chunks)


def test_replays_at_once_one_of_them_killed_move_each_message_once(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A transaction a chunk: what was moved stays, what was not is found by the next replay."""
    topic.create()
    rows = heartbeats(5000, start=datetime.now(UTC) + timedelta(days=2))
    topic.send((row[0].encode(), encode(row)) for row in rows)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    consumer.stop()
    first, second = (start("consumer", "replay", **FAR_AHEAD) for _ in range(2))
    wait_until(lambda: database.count() > 0)
    first.process.kill()
    assert second.wait() == 0
    first.wait()

    assert database.lost_and_surplus(rows) == ([], [])
    assert database.query("SELECT sum(stored), sum(rejected), sum(replayed) FROM kafka_ledger") == [(5000, 0, 5000)]
    assert start("consumer", "verify", "--full").wait() == 0
