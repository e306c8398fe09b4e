"""
The list of forgotten people, whose older messages must not be stored again. It holds hashes, and no names.

A session reads the list when the ledger refuses a batch because the list has changed. So an empty list costs nothing,
and no session can store by an outdated one.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Final, TypeVar
from uuid import UUID

from psycopg import Connection

from common.errors import ConfigError
from contracts.contract import Contract
from contracts.fields import AnyField, Integer, Uuid
from store.batch import Batch
from store.errors import ForgottenChangedError
from store.json_text import read_object
from store.kinds import kind_of
from store.reasons import FaultError, NotAnEventError

T = TypeVar("T")

VERSIONS: Final = "SELECT partition, forgotten_version FROM kafka_ledger WHERE generation = %s"
LIST: Final = "SELECT hash, before_offsets FROM forgotten WHERE generation = %s"
# Of JSON, XML, CSV and text; the second one also of forms and others, by each ASCII sign but - and _.
_WORDS: Final = re.compile(rb'[^\s"\'\\,;:=<>()\[\]{}]+'), re.compile(rb"[^\s!-,./:-@\[-^`{-~]+")


def key_of(contract: Contract) -> AnyField:
    """Return the field that names the person."""
    return next(field for field in contract.fields if field.name == contract.key)


def name_of(field: AnyField, value: Any) -> bytes:  # noqa: ANN401 - of the key's own type, see store/kinds.py
    """Return a person's name as bytes, from a value of the contract's key."""
    return (str(UUID(bytes=value)) if isinstance(field, Uuid) else str(value)).encode("utf-8", "surrogatepass")


def read_names(contract: Contract, people: Iterable[str]) -> list[bytes]:
    """Return the names to which values of the key belong, each once; raise a `ConfigError` if one cannot be a key."""
    key = key_of(contract)
    found: dict[bytes, None] = {}
    for number, person in enumerate(people, 1):
        try:
            found[name_of(key, kind_of(key).read(int(person) if isinstance(key, Integer) else person))] = None
        except (FaultError, ValueError):
            raise ConfigError(  # without the name: errors reach logs
                f"cannot forget: value {number} is no {contract.key} of {contract.table}",
                hint=f"Write each as it stands in the column {contract.key}.",
            ) from None
    return list(found)


def hash_of(name: bytes) -> bytes:
    """Return a name's hash, as in the table `forgotten`."""
    return sha256(name).digest()


def names_in(field: AnyField, key: bytes | None, payload: bytes | None) -> set[bytes]:
    """
    Return whom a message may concern that is no valid event: by its Kafka key, and by its payload.

    Args:
        field: The contract's key.
        key: The Kafka key.
        payload: The payload, or what is kept of it. If no key can be read in it, each of its words may be one. A number
            says too little without its field.
    """
    names = {key} if key else set()
    found: object = None
    if payload is not None:
        with suppress(NotAnEventError):
            found = read_object(payload)[0].get(field.name)
        if isinstance(found, (str, int)) and not isinstance(found, bool):
            names.add(str(found).encode("utf-8", "surrogatepass"))
        elif not isinstance(field, Integer):
            names.update(word for words in _WORDS for word in words.findall(payload))
    return {name.lower() for name in names} if isinstance(field, Uuid) else names


class Forgotten:
    """
    What one session knows of the list, for one generation of a topic.

    Args:
        contract: What is stored; its key names the person.
        max_payload_bytes: How much is kept of a quarantined key and payload; only this much is searched.
    """

    def __init__(self, contract: Contract, max_payload_bytes: int) -> None:
        self._field = key_of(contract)
        self._column = contract.fields.index(self._field)
        self._most = max_payload_bytes
        self._generation = 0
        self.versions: Mapping[int, int] = {}  # by partition; 0 if it is missing
        self._before: dict[
            bytes, Sequence[int]
        ] = {}  # by hash: the offset before which nothing is stored, by partition
        self._ends: list[int] = []  # the largest of these offsets, by partition

    def store_without(self, connection: Connection, batch: Batch, write: Callable[[Connection], T]) -> T:
        """
        Erase the messages of forgotten people from a batch, then write it; again if people are forgotten meanwhile.

        Args:
            connection: In no transaction.
            batch: The batch.
            write: Stores it by `versions`, or raises `ForgottenChangedError`.
        """
        if batch.generation != self._generation:  # the topic was made again
            self._generation, self.versions, self._before, self._ends = batch.generation, {}, {}, []
        while True:
            self._erase(batch)
            try:
                return write(connection)
            except ForgottenChangedError:
                self._load(connection)

    def _load(self, connection: Connection) -> None:
        # The versions first: a list that is newer than its version is read once more, and an older one would be obeyed.
        self.versions = dict(connection.execute(VERSIONS, (self._generation,)).fetchall())
        self._before = dict(connection.execute(LIST, (self._generation,), binary=True).fetchall())
        self._ends = [max(ends) for ends in zip_longest(*self._before.values(), fillvalue=0)]

    def _erase(self, batch: Batch) -> None:
        if not any(part.from_offset < self._end(part.partition) for part in batch.slices):
            return
        keys = batch.columns[self._column]
        found = {key: self._limits([name_of(self._field, key)]) for key in set(keys)}
        before_of = {key: limits for key, limits in found.items() if limits}
        erased = [
            key in before_of and _is_before(before_of[key], record.partition(), record.offset())
            for key, record in zip(keys, batch.records, strict=True)
        ]
        rejected = [
            record.offset() < self._end(record.partition())
            and _is_before(
                self._limits(
                    names_in(self._field, _start(record.key(), self._most), _start(record.value(), self._most))
                ),
                record.partition(),
                record.offset(),
            )
            for record in (one.record for one in batch.rejected)
        ]
        if any(erased) or any(rejected):
            batch.erase(erased, rejected)

    def _end(self, partition: int) -> int:
        return self._ends[partition] if partition < len(self._ends) else 0

    def _limits(self, names: Iterable[bytes]) -> list[Sequence[int]]:
        found = map(self._before.get, map(hash_of, names))
        return [limits for limits in found if limits is not None]


def _is_before(limits: Iterable[Sequence[int]], partition: int, offset: int) -> bool:
    return any(partition < len(ends) and offset < ends[partition] for ends in limits)


def _start(text: bytes | None, most: int) -> bytes | None:
    return text if text is None else text[:most]
