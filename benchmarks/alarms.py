"""
Alarms of a simulated day against the truth: precision and recall of each kind, how soon they come, and what they cost.

The readings of a seed, with its episodes, are copied into a database as a consumer would have stored them, ten minutes
at a time; then the same SQL that runs beside a consumer looks at them. It goes by event time, so the result is that of
a real day.
"""

import argparse
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import psutil
import psycopg

from benchmarks.report import write_section
from benchmarks.stack import open_database
from common.event import customer_id
from common.settings import Consumer, Producer
from local.postgres import PostgresServer
from producer.data_generator import HeartRates
from producer.episodes import Episode, EpisodicRates, Kind, episodes
from store.alarms import LOOK
from store.row_id import pack

PARTITIONS: Final = 6
STEP: Final = timedelta(minutes=10)  # filled in at a time
WARM_UP: Final = timedelta(hours=1)  # nobody's usual range is known before, and nothing is counted
LATE: Final = timedelta(minutes=2)  # an alarm may end so long after its episode
WINDOW_S: Final = 5.0
EPISODES_PER_HOUR: Final = Producer().episodes_per_hour
OWN: Final = Consumer()
LIMITS: Final = (OWN.alarm_silent_s, OWN.alarm_outside_s, OWN.alarm_outside_bpm, OWN.alarm_stuck_s)

BEGIN: Final = """
INSERT INTO kafka_topics (generation, topic_id, topic) VALUES (1, 'simulated', 'simulated');
INSERT INTO kafka_ledger (generation, partition, start_offset, next_offset)
SELECT 1, partition, 0, 0 FROM generate_series(0, 5) AS partition;
"""
COPY: Final = 'COPY heartbeats (id, customer_id, "timestamp", heart_rate) FROM STDIN'
ADVANCE: Final = """
UPDATE kafka_ledger SET next_offset = %s, stored = %s WHERE generation = 1 AND partition = %s
"""
NOTE: Final = """
INSERT INTO heartbeats_touched (minute, noted_at)
SELECT minute, now() - interval '1 h' FROM generate_series(%s::timestamptz, %s, '1 min') AS minute
"""
ALARMS: Final = "SELECT customer_id, kind, started_at, noticed_at, ended_at FROM alarms ORDER BY started_at"


class Alarm(NamedTuple):
    """A row of `alarms`."""

    customer_id: str
    kind: str
    started_at: datetime
    noticed_at: datetime
    ended_at: datetime | None

    def is_of(self, episode: Episode) -> bool:
        """Tell whether it is about this episode."""
        return (
            self.kind == episode.kind
            and self.customer_id == customer_id(episode.customer + 1)
            and self.started_at < episode.ended_at
            and (self.ended_at is None or episode.started_at < self.ended_at <= episode.ended_at + LATE)
        )


class Day:
    """
    A simulated stretch of time in a database.

    Args:
        connection: To a database with the schema, as its owner.
        customers: How many send once a second.
        seed: Of the generator.
        begins: The first moment, on a full minute.
    """

    def __init__(self, connection: psycopg.Connection, customers: int, seed: int, begins: datetime) -> None:
        self._connection = connection
        self._people = EpisodicRates(HeartRates(customers, 1.0, seed), seed, customers, EPISODES_PER_HOUR)
        self._names = [customer_id(number) for number in range(1, customers + 1)]
        self._partitions = [zlib.crc32(name.encode()) % PARTITIONS for name in self._names]
        self._offsets = [0] * PARTITIONS
        self.truth = (seed, customers, EPISODES_PER_HOUR)
        self.begins = self.now = begins
        self.pass_s: list[float] = []
        connection.execute(BEGIN)

    def fill(self, lasting: timedelta) -> None:
        """Store what everybody sends for so long, and sum up its minutes."""
        until = self.now + lasting
        self._connection.execute("SELECT make_heartbeats_partition(%s)", (self.now.date(),))
        with self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy(COPY) as copy:
                for block in self._blocks(until):
                    copy.write(block)
            for partition, offset in enumerate(self._offsets):
                cursor.execute(ADVANCE, (offset, offset, partition))
            cursor.execute(NOTE, (self.now, until - timedelta(minutes=1)))
        self.now = until
        while self._connection.execute("SELECT refresh_rollups()").fetchone() != (0,):
            pass

    def look(self) -> list[dict[str, Any]]:
        """Look for alarms as maintenance does, until nothing is left; the changes."""
        changes: list[dict[str, Any]] = []
        while True:
            started = time.perf_counter()
            windows, changed, _ = self._connection.execute(LOOK, LIMITS).fetchone() or (0, [], 0)
            if not windows:
                return changes
            self.pass_s.append(time.perf_counter() - started)
            changes += changed

    def alarms(self) -> list[Alarm]:
        """Give all alarms."""
        return [Alarm(*row) for row in self._connection.execute(ALARMS).fetchall()]

    def _blocks(self, until: datetime) -> Iterator[str]:
        step = timedelta(seconds=1) / len(self._names)
        for second in range(int((until - self.now).total_seconds())):
            at = self.now + timedelta(seconds=second)
            rates_bpm, silent = self._people.read(0, len(self._names), at)
            lines = []
            for index, (name, partition, bpm) in enumerate(
                zip(self._names, self._partitions, rates_bpm.tolist(), strict=True)
            ):
                if index not in silent:
                    row_id = pack(1, partition, self._offsets[partition])
                    self._offsets[partition] += 1
                    lines.append(f"{row_id}\t{name}\t{at + index * step}\t{bpm}\n")
            yield "".join(lines)


class Score(NamedTuple):
    """How the alarms of one kind compare with the truth."""

    episodes: int
    alarms: int
    found: int  # of the episodes
    true: int  # of the alarms
    doubled: int  # episodes with more than one alarm
    notice_s: list[float]  # from the onset of each episode that was found


def score(day: Day) -> dict[Kind, Score]:
    """Compare the alarms with the episodes, of all that began after the warm-up."""
    counted_from = day.begins + WARM_UP
    alarms = day.alarms()
    truth = episodes(*day.truth, day.begins, day.now)
    scores = {}
    for kind in Kind:
        real = [e for e in truth if e.kind is kind]
        complete = [e for e in real if e.started_at >= counted_from and e.ended_at <= day.now]
        raised = [a for a in alarms if a.kind == kind and a.started_at >= counted_from]
        of_episode = [[a for a in alarms if a.is_of(e)] for e in complete]
        scores[kind] = Score(
            len(complete),
            len(raised),
            sum(map(bool, of_episode)),
            sum(any(a.is_of(e) for e in real) for a in raised),
            sum(len(found) > 1 for found in of_episode),
            [
                (found[0].noticed_at - e.started_at).total_seconds()
                for e, found in zip(complete, of_episode, strict=True)
                if found
            ],
        )
    return scores


def table(day: Day, customers: int, cpu_s: float) -> list[str]:
    """Give the figures as Markdown."""
    hours = (day.now - day.begins - WARM_UP).total_seconds() / 3600
    lines = [
        f"{customers:,} customers, {hours:g} hours after {WARM_UP.total_seconds() / 3600:g} hour of warm-up:",
        "",
        "| kind | episodes | recall | precision | doubled | noticed after (median, most) | false per 1,000 and day |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, s in score(day).items():
        recall, precision = s.found / max(1, s.episodes), s.true / max(1, s.alarms)
        false = (s.alarms - s.true) / customers * 1000 / hours * 24
        notice = f"{median(s.notice_s):.0f} s, {max(s.notice_s):.0f} s" if s.notice_s else "-"
        lines.append(
            f"| {kind} | {s.episodes} | {recall:.3f} | {precision:.3f} | {s.doubled} | {notice} | {false:.2f} |"
        )
    passes = len(day.pass_s)
    lines += [
        "",
        f"A pass takes {median(day.pass_s) * 1000:.1f} ms (median of {passes:,}), {cpu_s * 1000 / passes:.1f} ms CPU:",
        f"{cpu_s / passes / WINDOW_S:.2%} of a core, as there is one every 5 s.",
    ]
    return lines


def main() -> None:
    """Measure, print and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alarms", description=__doc__)
    parser.add_argument("--customers", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--hours", type=int, default=24, help="after the first, which warms up (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="write the figures into docs/performance.md")
    given = parser.parse_args()
    begins = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=given.hours + 2)
    cpu_s: defaultdict[str, float] = defaultdict(float)
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(Path(folder) / "postgres") as server,
        open_database(server, "alarms") as connection,
    ):
        backend = psutil.Process(connection.info.backend_pid)
        day = Day(connection, given.customers, given.seed, begins)
        while day.now < begins + WARM_UP + timedelta(hours=given.hours):
            for what, work in (("fill", lambda: day.fill(STEP)), ("look", day.look)):
                before = sum(backend.cpu_times()[:2])
                work()
                cpu_s[what] += sum(backend.cpu_times()[:2]) - before
            if day.now.minute == 0:
                print(f"{day.now:%H:%M} {len(day.pass_s):,} passes", flush=True)
        lines = table(day, given.customers, cpu_s["look"])
    print("\n".join(lines))
    if given.report:
        write_section("alarms", "\n".join(lines))


if __name__ == "__main__":
    main()
