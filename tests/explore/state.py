"""
Says whether two moments are the same: everything after them is the same then, and is looked at once.

Left out are times (only whether a wait is over counts), metrics, and how the threads came here.
"""

import sys
from collections import deque
from functools import partial
from types import CodeType
from typing import Any

from store.batch import Batch, Slice
from store.outage import Outage
from store.position import LastRecord, Position
from tests.explore.scheduler import ScheduledFuture, Task
from tests.explore.world import Consumer, Source, World

PLAIN = (int, str, bool, type(None), bytes)
OF_THE_LOOP = ("/consumer/", "/explore/")
# Functions whose locals are part of the state elsewhere, or are not read again.
BARE = {"_loop", "_read", "_run_source", "run", "_run", "pause", "wait", "is_done", "take_finished"}
LINES: dict[tuple[CodeType, int], int] = {}


def state_of(world: World) -> int:
    """Return a hash of everything that decides what can happen from now on."""
    return sys.maxsize & hash(
        (
            tuple(world.left.values()),
            encode(world.tables.next_offsets),
            len(world.tables.taken),
            tuple(world.tables.topics),
            encode(world.owners),
            tuple(sorted(world.revoking)),
            encode(world.members),
            tuple([consumer_state(one) for one in world.consumers]),
        )
    )


def consumer_state(consumer: Consumer) -> object:
    """Return what decides what a consumer does next."""
    worker = consumer.worker
    if worker is None:
        return consumer.stop
    writers = worker._writers  # noqa: SLF001 - all of it is state
    return (
        consumer.stop,
        consumer.has_ended,
        worker._generation, worker._write_failed, worker._has_worked, worker._revoke_s,  # noqa: SLF001
        outage_state(worker._kafka, consumer.now_s), outage_state(worker._postgresql, consumer.now_s),  # noqa: SLF001
        tuple([source_state(source) for source in consumer.sources[-2:]]),
        tuple([(encode(write.batch), encode(write.future)) for write in writers._writes]),  # noqa: SLF001
        encode(writers._writers[0]._asked) if not writers._writes else None,  # noqa: SLF001
        # Which of two writers does it makes no difference.
        tuple(sorted([hash((store.copied, store.is_terminated)) for store in consumer.stores])),
        tuple(sorted([len(writer._calls._items) for writer in writers._writers])),  # type: ignore[attr-defined]  # noqa: SLF001
        tuple(sorted([hash((task.where, task_state(task))) for task in consumer.tasks if not task.dead])),
    )  # fmt: skip


def outage_state(outage: Outage, now_s: float) -> tuple[bool, bool]:
    """Return whether a server is away, and whether a retry is due."""
    return outage._error is None, outage._retry_at > now_s  # noqa: SLF001


def source_state(source: Source) -> object:
    """Return what decides what a session reads next."""
    return (
        source.topic.topic_id,
        encode(source._positions),  # noqa: SLF001
        encode(source.unstarted),
        source._is_fetching,  # noqa: SLF001
        encode(source.turns),
        source.closed,
        source.reads_left,
        encode(source._evidence._last),  # noqa: SLF001
    )


def task_state(task: Task) -> object:
    """Return where a thread waits and what it holds; computed after each step of the thread."""
    if task.frames is None:
        frames = []
        frame = task.gr_frame
        while frame is not None:
            code = frame.f_code
            if any(folder in code.co_filename for folder in OF_THE_LOOP):
                held = () if code.co_name in BARE else encode(list(frame.f_locals.values()))
                frames.append((code.co_name, line_of(code, frame.f_lasti), held))
            frame = frame.f_back
        task.frames = tuple(frames)
    return task.frames


def line_of(code: CodeType, place: int) -> int:
    """Return the line of a place in the code: Python compiles the condition of a loop twice."""
    if (code, place) not in LINES:
        LINES[code, place] = next(line or 0 for start, end, line in code.co_lines() if start <= place < end)
    return LINES[code, place]


def encode(value: Any) -> object:  # noqa: ANN401, C901, PLR0911 - anything that a frame holds
    """Return a value that can be hashed, the same for what is the same in every run."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in (list, tuple, deque):
        return tuple([encode(one) for one in value])
    if kind is dict:
        return tuple([(encode(key), encode(one)) for key, one in value.items()])
    if kind is set or kind is frozenset:
        return frozenset(value) if all(type(one) is int for one in value) else len(value)
    if kind is Slice:
        return value.partition, value.from_offset, value.to_offset
    if kind is Batch:
        return value.generation, encode(value.slices)
    if isinstance(value, BaseException):
        return kind.__name__
    if kind is ScheduledFuture:
        return value.done() and (type(value.exception()).__name__, encode(value.outcome))
    if kind in (Position, LastRecord):
        return repr(value)
    if kind is partial:
        return value.func.__name__, encode(value.args)
    if kind is Source:
        return value.consumer.name, value.topic.topic_id, value.closed
    return kind.__name__
