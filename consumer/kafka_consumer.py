"""
Reads from Kafka: the assigned partitions, as slices of records with consecutive offsets.

The consumer group decides which consumer reads a partition; the ledger decides from which offset. A partition is
therefore assigned paused, and stays "unstarted" until `start_at` gets its offset from the ledger.

More than 250 lines: reading, rebalances and recovery share the partitions' positions.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from common.errors import ConfigError, OutageError
from common.kafka_options import open_consumer
from common.log_offsets import LogOffsets
from common.settings import Settings
from common.topic import TopicAdmin
from common.topic_identity import TopicCheck, TopicIdentity, identify
from consumer.client_events import ClientEvents
from consumer.coordinator import Coordinator
from consumer.delivery import Delivery
from consumer.errors import MembershipLostError
from consumer.metrics import REBALANCES
from consumer.reading import Hole, Reading, set_aside_large
from consumer.unreadable import UnreadableBatches
from store.batch import Slice
from store.errors import RecordReplacedError
from store.events import Events
from store.position import Evidence, Position

REJOIN_S: Final = 15.0  # longer than a group takes to assign partitions


class KafkaSource:
    """
    One membership in the consumer group, a `consumer.interfaces.Source`.

    Args:
        settings: Addresses, topic, group and options.
        before_revoke: Called before partitions are revoked. It may wait, in bounded time, for writes in flight.
        events: Gets rebalances.
    """

    def __init__(self, settings: Settings, before_revoke: Callable[[], object], events: Events) -> None:
        self._pipeline_events = events
        self._kafka = settings.kafka
        self._topic = settings.kafka.topic
        self._before_revoke = before_revoke
        self._positions: dict[int, int] = {}
        self._suspected: dict[int, set[Hole]] = {}
        self._evidence = Evidence()
        self._events = ClientEvents(settings.kafka)
        self._unreadable = UnreadableBatches(settings)
        self._max_batch = settings.consumer.max_batch
        self._max_wait_s = settings.consumer.max_wait_s
        self._kept_bytes = settings.consumer.max_payload_bytes
        self._resting = False
        # Monotonic: since all partitions were revoked. Infinite: some are assigned, or none was yet.
        self._without_partitions_since = math.inf
        self.unstarted: set[int] = set()
        self._consumer = open_consumer(settings, error_cb=self._events.note)
        self._admin = TopicAdmin(self._kafka)
        self._coordinator = Coordinator(self._admin, self._kafka)
        self._delivery = Delivery(self._admin)
        self._offsets = LogOffsets(self._consumer, self._admin, self._kafka)
        self.topic = TopicIdentity(self._topic, "")

    def subscribe(self) -> None:
        """Read the topic's id and join the group."""
        self._consume(1, 0)  # until it has subscribed, nothing else polls the client
        self.topic, _ = identify(self._admin, self._topic)
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._unassign
        )

    def check_topic(self) -> TopicCheck:
        """Return a check, not started yet, that the topic is still the one that was read."""
        return TopicCheck(self._admin, self.topic)

    def read(self) -> list[Slice]:
        """
        Read until there are `max_batch` messages or `max_wait_s` has passed, as `Source.read`.

        Raises:
            NoCoordinatorError: No partition is assigned, and the group has no coordinator. Others as `Source.read`.
        """
        self._events.check()
        self._check_group()
        self._wake()
        if passed := self._pass_unreadable():
            return passed
        parts: dict[int, Reading] = {}
        partition: int
        messages = self._consume(self._max_batch, self._max_wait_s)
        for partition, run in groupby(messages, Message.partition):  # type: ignore[assignment]  # a consumed message has a place
            if (reading := self._reading(parts, partition)) is not None:
                reading.take(list(run))  # type: ignore[arg-type]  # as above
        self._pass_to_log_ends(parts)
        finished = [self._finish(partition, reading) for partition, reading in parts.items()]
        self._search_failed()
        slices = [part for part in finished if part is not None]
        if not slices:  # otherwise the slices would be lost
            self._raise_refusal()
        # Also while others flow. Of a full batch, the client holds more: a partition's records may come behind.
        if len(messages) < self._max_batch:
            unreadable = self._unreadable.partitions
            self._delivery.check({one: at for one, at in self._positions.items() if one not in unreadable})
        self._coordinator.check(has_partitions=bool(self._positions or self.unstarted))
        return slices

    @property
    def stuck(self) -> set[int]:
        """Return the partitions that cannot be read, as `Source.stuck`."""
        return {*self._positions} if self._admin.is_down else self._unreadable.stuck(self._positions)

    def holds(self, part: Slice) -> bool:
        """Return whether a slice is still the last that was read of its partition."""
        return self._positions.get(part.partition) == part.to_offset

    def rest(self) -> None:
        """Stay in the group without reading: pause all partitions, and serve callbacks."""
        if not self._resting:
            self._consumer.pause(self._consumer.assignment())
            self._resting = True
        self._consume(1, 0)  # a record that still arrives is dropped, and read again

    def forget_positions(self) -> None:
        """Forget all positions: reading will continue from the ledger's offsets."""
        self.unstarted |= self._positions.keys()
        for partition in self.unstarted:
            self._forget(partition)
        self._consumer.pause(self._consumer.assignment())

    def start_at(self, positions: Mapping[int, Position]) -> None:
        """Start reading partitions at these positions, if they are still assigned and unstarted."""
        self._consume(1, 0)  # serves a pending rebalance first: none may begin between the two ways of `_seek`
        started = self.unstarted & positions.keys()
        for partition in started:
            self._positions[partition] = positions[partition].next_offset
            self._seek(partition, self._evidence.expect(partition, positions[partition]))
        self.unstarted -= started
        if not self._resting:  # otherwise they resume with all others
            self._resume(started)

    def log_ranges(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """Return the first and the next offset of partitions; as `LogOffsets.ranges`."""
        return self._offsets.ranges(partitions)

    def log_ends(self) -> dict[int, int | None]:
        """Return the end of each assigned partition's log, as last known; None: not known yet."""
        assigned = self._positions.keys() | self.unstarted
        fetched = set() if self._resting else self._positions.keys() - self._unreadable.partitions
        return self._offsets.ends(fetched, assigned - fetched)

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show Kafka's tools these offsets; as `LogOffsets.mirror`."""
        self._offsets.mirror(offsets)

    def close(self) -> None:
        """Leave the group."""
        for partition in self._unreadable.partitions:
            self._unreadable.forget(partition)
        self._consumer.close()

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Assigned here and paused: if a callback does not assign, the client starts at the group's offsets.
        for one in partitions:
            one.offset = 0
        self._consumer.incremental_assign(partitions)
        self._consumer.pause(partitions)
        self._events.refusal = None
        for one in partitions:
            self._forget(one.partition)
            self.unstarted.add(one.partition)
        if partitions:
            self._without_partitions_since = math.inf
        self._note_rebalance("assigned", partitions)

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._before_revoke()
        self._unassign(self._consumer, partitions)

    def _unassign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            self._forget(one.partition)
            self.unstarted.discard(one.partition)
        self._consumer.incremental_unassign(partitions)
        if not (self._positions or self.unstarted):
            self._without_partitions_since = min(self._without_partitions_since, time.monotonic())
        self._note_rebalance("revoked", partitions)

    def _note_rebalance(self, what: str, partitions: list[TopicPartition]) -> None:
        REBALANCES.labels(what).inc(len(partitions))
        if partitions:
            numbers = ", ".join(map(str, sorted(one.partition for one in partitions)))
            self._pipeline_events.add("rebalance", f"{what} {self._topic}[{numbers}]")

    def _check_group(self) -> None:
        """
        Raise if all partitions were revoked and none was assigned for a while: a new client must join.

        A broker before 4.2 that has just started may not know a member yet, and reject it for ever when it joins again
        with its id (KAFKA-19233). A new client has a new id. If other members own all partitions, joining again does no
        harm, and the next client waits without a limit.
        """
        if time.monotonic() - self._without_partitions_since > REJOIN_S:
            raise MembershipLostError(
                f"no partition from group {self._kafka.group_id} for {REJOIN_S:g} s after all were revoked",
                hint="The consumer joins again. If there are more consumers than partitions, some get none.",
            )

    def _forget(self, partition: int) -> None:
        self._positions.pop(partition, None)
        self._suspected.pop(partition, None)
        self._events.forget(partition)
        self._unreadable.forget(partition)

    def _consume(self, count: int, wait_s: float) -> list[Message]:
        """Return the next records. Partitions whose log does not hold their position become unstarted."""
        self._admin.serve(f"read topic {self._topic}" if self._positions else "")
        messages = self._events.records_of(self._consumer.consume(count, wait_s))
        while self._events.lost:
            partition = self._events.lost.pop()
            if partition in self._positions:
                self._forget(partition)
                self.unstarted.add(partition)
        if messages and self._are_doubtful(messages):
            self.forget_positions()
            return []
        return messages

    def _are_doubtful(self, messages: Sequence[Message]) -> bool:
        """Return whether the ledger must be read again before these are used; raise if Kafka's log was cut."""
        if self._events.was_away():  # the log may have been cut meanwhile
            return True
        if (other := self._evidence.find_other(messages)) is None:  # type: ignore[arg-type]  # as above
            return False
        try:
            self.check_topic().wait()
        except OutageError:
            return True
        raise RecordReplacedError(self._topic, other.partition(), other.offset())

    def _reading(self, parts: dict[int, Reading], partition: int) -> Reading | None:
        """Return this call's reading of a partition; None if it has no position (any more)."""
        if partition not in parts:
            if partition not in self._positions:
                return None
            parts[partition] = Reading(self._positions[partition], self._suspected.get(partition, set()))
        return parts[partition]

    def _pass_to_log_ends(self, parts: dict[int, Reading]) -> None:
        """Pass the offsets without a record at the ends of logs."""
        while self._events.log_ends:
            partition, offset = self._events.log_ends.popitem()
            self._unreadable.settle(partition)
            if offset > self._positions.get(partition, offset) and (reading := self._reading(parts, partition)):
                reading.reach(offset)

    def _search_failed(self) -> None:
        """Pause the partitions with an error, and search for the unreadable batch there."""
        for partition in self._events.failed - self._unreadable.partitions:
            if partition in self._positions:
                self._consumer.pause([TopicPartition(self._topic, partition)])
                self._unreadable.search(partition, self._positions[partition])
            else:
                self._events.forget(partition)

    def _raise_refusal(self) -> None:
        """Raise the broker's rejection: once, or at each call while no partition is assigned."""
        if (refusal := self._events.refusal) is not None:
            if self._positions or self.unstarted:
                self._events.refusal = None
            raise refusal

    def _pass_unreadable(self) -> list[Slice]:
        """Return the slices of unreadable batches that were found, and continue reading behind them."""
        slices = []
        for partition in self._unreadable.partitions:
            try:
                part = self._unreadable.take(partition, self._positions[partition], self._max_batch)
            except ConfigError as error:  # the search is repeated; the others' slices are returned
                self._events.refusal = error
                continue
            if part is not None:
                self._positions[partition] = part.to_offset
                slices.append(part)
            if partition not in self._unreadable.partitions:
                self._events.forget(partition)
                self._seek(partition, self._positions[partition])
                self._resume([partition])
        return slices

    def _finish(self, partition: int, reading: Reading) -> Slice | None:
        start = self._positions.get(partition)
        if start is None:
            return None  # it lost its position during the call
        self._positions[partition] = reading.expected
        self._suspected[partition] = reading.suspected
        if reading.suspected:
            self._seek(partition, reading.expected)
        if reading.expected == start:
            return None
        records, rejected = set_aside_large(reading.records, self._kept_bytes)
        return Slice(partition, start, reading.expected, records, reading.skipped, rejected)

    def _seek(self, partition: int, offset: int) -> None:
        here = TopicPartition(self._topic, partition, offset)
        try:
            self._consumer.seek(here)
        except KafkaException:  # not started yet, or stopped by an error: assign it again, with its offset
            self._consumer.incremental_unassign([here])
            self._consumer.incremental_assign([here])

    def _wake(self) -> None:
        if self._resting:
            self._resting = False
            self._resume(self._positions.keys() - self._unreadable.partitions)

    def _resume(self, partitions: Iterable[int]) -> None:
        topic_partitions = [TopicPartition(self._topic, partition, OFFSET_END) for partition in partitions]
        self._consumer.resume(topic_partitions)
        self._offsets.wake(partitions)
