"""What the loop needs of its two ends, whoever they are."""

from collections.abc import Collection, Mapping
from typing import Protocol

from common.topic_identity import Check, TopicIdentity
from store.batch import Batch, Slice
from store.position import Position
from store.record import Rejected


class Stop(Protocol):
    """A flag that asks to stop."""

    def is_set(self) -> bool:
        """Tell whether to stop."""


class Source(Protocol):
    """Kafka's end, see `KafkaSource`."""

    topic: TopicIdentity
    unplaced: set[int]

    @property
    def stuck(self) -> set[int]: ...  # noqa: D102

    def subscribe(self) -> None: ...  # noqa: D102
    def check_topic(self) -> Check: ...  # noqa: D102
    def read(self) -> list[Slice]: ...  # noqa: D102
    def holds(self, part: Slice) -> bool: ...  # noqa: D102
    def rest(self) -> None: ...  # noqa: D102
    def displace(self) -> None: ...  # noqa: D102
    def place(self, positions: Mapping[int, Position]) -> None: ...  # noqa: D102
    def log_ranges(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]: ...  # noqa: D102
    def log_ends(self) -> dict[int, int | None]: ...  # noqa: D102
    def mirror(self, offsets: Mapping[int, int]) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Store(Protocol):
    """PostgreSQL's end, see `PostgresStore`."""

    def positions(  # noqa: D102
        self, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]]
    ) -> tuple[int, dict[int, Position]]: ...
    def write(self, batch: Batch, topic: TopicIdentity, check: Check) -> list[Rejected]: ...  # noqa: D102
    def end_blockers(self) -> int: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
