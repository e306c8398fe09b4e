"""
Reads a range of offsets again: what is stored of it is replaced by what the current rules make of Kafka's records.

The command reads Kafka itself, and replaces one batch in one transaction (store/rewrite.py). Setting the ledger back
instead would make the consumers read everything from there on, while new heartbeats wait and the range has no rows.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from common.errors import ConfigError, NoLeaderError, OutageError, StoppedError
from common.progress import progress
from common.settings import Credentials, Settings
from common.topic_identity import TopicIdentity
from common.topic_log import TopicLog
from consumer.log_range import LogRange
from contracts.load import contract_of
from store.batch import Batch
from store.errors import NotHeldError, RecordReplacedError
from store.figures import LedgerRow
from store.kafka_probe import find_replaced
from store.rewrite import Rewriter, Tally
from store.session import Session
from store.validation import Decode
from store.verify import read_ledger

ATTEMPTS: Final = 3  # of one batch: a deadlock with maintenance, or a lock of somebody else
PAUSE_S: Final = 1.0
Place = int | datetime  # an offset, or Kafka's time of a record


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What a person asks for.

    `start` is the first offset or time, `end` the one behind the last; None: all that the ledger has taken. Without a
    partition, it means all of them.
    """

    start: Place
    end: Place | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """A range of one partition; `end` is not included."""

    ledger: LedgerRow
    start: int
    end: int


def place(text: str) -> Place:
    """Return the offset or the time that a text means; raise a `ValueError` otherwise."""
    if re.fullmatch(r"[0-9]{1,13}", text):
        return int(text)
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError
    return found


def reread(  # noqa: PLR0913 - where, what and how, by keyword
    settings: Settings,
    credentials: Credentials,
    wanted: Wanted,
    *,
    dry_run: bool,
    as_json: bool,
    say: Callable[[str], None],
) -> dict[int, Tally]:
    """
    Read a range again.

    Args:
        settings: Where Kafka and PostgreSQL are, and the rules.
        credentials: The owner of the tables: no other role may delete rows.
        wanted: The range.
        dry_run: Say what would happen, and change nothing.
        as_json: Say one JSON object instead of lines.
        say: Gets the summary.
    Returns:
        By partition, what was there and what it became.
    Raises:
        NotHeldError: Kafka does not hold the whole range; nothing was changed, or only what came before.
        LedgerError: Kafka, the ledger and the rows contradict each other.
        OutageError, ConfigError: As `verify`. What was committed stays, and the command can be repeated.
        StoppedError: Ctrl-C; the same holds.
    """
    log, store = TopicLog(settings), Rewriter(settings, credentials, dry_run=dry_run)
    done: dict[int, Tally] = {}
    try:
        store.check()
        topic, ranges = _plan(settings, credentials, log, wanted)
        total = sum(one.end - one.start for one in ranges)
        with progress("read again", total) as advance:
            for one in ranges:
                tally = done.setdefault(one.ledger.partition, Tally())
                for part in _reread(settings, store, log, topic, one):
                    tally.add(part)
                    advance(part.offsets)
    except KeyboardInterrupt:
        count = 0 if dry_run else sum(tally.offsets for tally in done.values())
        raise StoppedError(
            f"reread stopped: {count} offsets were read again so far",
            hint="Each of them is stored once, as all others are. Run it again to read all of them.",
        ) from None
    finally:
        store.close()
        log.close()
    if as_json:
        say(json.dumps(_values(ranges, done, dry_run=dry_run)))
    else:
        for line in _lines(topic.name, ranges, done, dry_run=dry_run):
            say(line)
    return done


def _reread(settings: Settings, store: Rewriter, log: TopicLog, topic: TopicIdentity, one: Range) -> Iterator[Tally]:
    decode = Decode(contract_of(settings.event), timedelta(seconds=settings.consumer.max_future_s))
    generation, partition = one.ledger.generation, one.ledger.partition
    store.begin(generation, partition, one.start, one.end)
    reader = LogRange(settings)
    try:
        for part in reader.slices(partition, one.start, one.end):
            batch = Batch.of([part], generation, decode)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    tally = store.rewrite(batch, topic, log.check(topic))
                except OutageError:  # committed or not: it can be repeated
                    if attempt == ATTEMPTS:
                        raise
                    time.sleep(PAUSE_S)
                else:
                    yield tally
                    break
    finally:
        reader.close()


def _plan(
    settings: Settings, credentials: Credentials, log: TopicLog, wanted: Wanted
) -> tuple[TopicIdentity, list[Range]]:
    """Return the topic and the ranges to read; raise unless Kafka holds all of them."""
    topic, _ = log.identify()
    ledger = _taken(settings, credentials, topic, wanted)
    held = log.ranges(list(ledger))
    starts, ends = (_offsets(log, ledger, which) for which in (wanted.start, wanted.end))
    if leaderless := ledger.keys() - (held.keys() & starts.keys() & ends.keys()):
        raise NoLeaderError(topic.name, leaderless)
    ranges = []
    for partition, one in ledger.items():
        start, end = max(starts[partition], one.start_offset), min(ends[partition], one.next_offset)
        if start < end:
            _refuse_unless_held(topic, Range(one, start, end), held[partition], wanted)
            ranges.append(Range(one, start, end))
    replaced = find_replaced(settings, {one.ledger.partition: one.ledger.position for one in ranges})
    log.check(topic).wait()  # afterwards, so that all answers are about this topic
    for partition, offset in replaced.items():
        raise RecordReplacedError(topic.name, partition, offset)
    return topic, ranges


def _taken(settings: Settings, credentials: Credentials, topic: TopicIdentity, wanted: Wanted) -> dict[int, LedgerRow]:
    """Return the ledger of the partitions that are meant."""
    session = Session(settings, credentials, Rewriter.application_name)
    try:
        ledger = session.run("read the ledger", partial(read_ledger, table=contract_of(settings.event).table))
    finally:
        session.close()
    taken = {one.partition: one for one in ledger if one.topic_id == topic.topic_id}
    if wanted.partition is not None:
        taken = {number: one for number, one in taken.items() if number == wanted.partition}
    if not taken:
        where = topic.name if wanted.partition is None else f"{topic.name}[{wanted.partition}]"
        raise ConfigError(
            f"cannot read {where} again: nothing of it was stored yet",
            hint="The ledger (`python -m consumer verify`) shows the topics and partitions that were.",
        )
    if len(taken) > 1 and (isinstance(wanted.start, int) or isinstance(wanted.end, int)):
        raise ConfigError(
            f"cannot read {topic.name} again from or to an offset: it has {len(taken)} partitions, each with its own",
            hint="Name one by --partition, or give times instead of offsets.",
        )
    return taken


def _offsets(log: TopicLog, ledger: Mapping[int, LedgerRow], which: Place | None) -> dict[int, int]:
    """Return by partition the offset of a place; the ledger's next one if Kafka has no record of that time or later."""
    if isinstance(which, datetime):
        found: Mapping[int, int | None] = log.at(list(ledger), round(which.timestamp() * 1000))
    else:
        found = dict.fromkeys(ledger, which)
    return {
        partition: ledger[partition].next_offset if offset is None else offset for partition, offset in found.items()
    }


def _refuse_unless_held(topic: TopicIdentity, one: Range, held: tuple[int, int], wanted: Wanted) -> None:
    low, end = held
    # Kafka answers a time before its log with the log's begin. It has dropped records before, of unknown times.
    is_cut = isinstance(wanted.start, datetime) and one.start == low > one.ledger.start_offset
    if one.start < low or one.end > end or is_cut:
        asked = wanted.start.isoformat() if isinstance(wanted.start, datetime) else one.start
        raise NotHeldError(
            f"cannot read {topic.name}[{one.ledger.partition}] again from {asked}: Kafka holds only the offsets {low}"
            f" to {end - 1}, and has dropped older ones",
            hint=f"Nothing was changed. Give a later time, or --partition {one.ledger.partition} --from {low}.",
        )


def _values(ranges: Collection[Range], done: Mapping[int, Tally], *, dry_run: bool) -> dict[str, Any]:
    total = Tally()
    for tally in done.values():
        total.add(tally)
    parts = [
        {"partition": one.ledger.partition, "from": one.start, "to": one.end, **asdict(done[one.ledger.partition])}
        for one in ranges
    ]
    return {"dry_run": dry_run, **asdict(total), "partitions": parts}


def _lines(topic: str, ranges: Collection[Range], done: Mapping[int, Tally], *, dry_run: bool) -> Iterator[str]:
    total = Tally()
    for one in ranges:
        tally = done[one.ledger.partition]
        total.add(tally)
        yield f"{topic}[{one.ledger.partition}]: offsets {one.start} to {one.end - 1}: {_words(tally)}"
    would = "would be" if dry_run else "were"
    yield f"{total.offsets} offsets {would} read again: {_words(total)}"


def _words(tally: Tally) -> str:
    missed = tally.rows_missed + tally.messages_missed
    return (
        f"{tally.stored} stored, {tally.rejected} rejected, {tally.skipped} skipped, {tally.duplicates} duplicates,"
        f" {tally.erased} erased; before: {tally.rows_replaced} rows, {tally.messages_replaced} quarantined"
        + (f", {missed} deleted by hand" if missed else "")
    )
