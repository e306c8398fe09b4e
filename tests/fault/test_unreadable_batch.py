"""A batch that cannot be read is one more bad message: quarantined, its neighbours stored, and all within 30 s."""

import time
import urllib.error
import urllib.request
from typing import Final

import pytest

from local.ports import find_free_port
from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.log_segment import batches, flip_bit, log_of, send_batch
from tests.pipeline import Database, Topic, encode, heartbeats

pytestmark = [pytest.mark.integration, pytest.mark.fault]

WITHIN_S: Final = 30.0
BOMB_BYTES: Final = 120_000_000
CODECS: Final = ["none", "gzip", "snappy", "lz4", "zstd"]


def send_bomb(topic: Topic, codec: str, size: int = BOMB_BYTES) -> None:
    """Send one record that is small on the wire and large once it is unpacked."""
    options: dict[str, str | int | bool] = {
        "compression.type": codec,
        "message.max.bytes": 2 * size,
        "batch.size": 2 * size,
    }
    producer = topic.producer(**options)
    producer.produce(topic.name, b"a" * size, b"bomb", 0)
    assert producer.flush(60) == 0


def quarantined(database: Database) -> list[int]:
    """Return the offsets of what cannot be read."""
    return [
        offset
        for (offset,) in database.query(
            "SELECT \"offset\" FROM rejected_heartbeats WHERE reason = 'unreadable_batch' AND partition = 0"
            ' AND key IS NULL AND payload IS NULL AND payload_length = 0 ORDER BY "offset"'
        )
    ]


def lines(service: Service, level: str) -> list[str]:
    return [event["event"] for event in service.events() if event["level"] == level]


def health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_zstd_bomb_is_quarantined_and_its_neighbours_are_stored(
    start: StartService, topic: Topic, database: Database
) -> None:
    """It used to stop its partition for good, logged as an outage of the broker while all looked healthy."""
    topic.create(partitions=2)
    before, other = heartbeats(10, seed=1), heartbeats(10, seed=2)
    send_batch(topic, before)
    send_bomb(topic, "zstd")
    behind = heartbeats(10, seed=3)
    send_batch(topic, behind)
    topic.send([(row[0].encode(), encode(row)) for row in other], partition=1)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == {0: 21, 1: 10}, within_s=WITHIN_S)

    assert database.lost_and_surplus(before + behind + other) == ([], [])
    assert quarantined(database) == [10]
    assert consumer.stop() == 0
    (line,) = [event for event in consumer.events() if event["level"] == "error"]
    assert (line["topic"], line["partition"], line["from_offset"], line["to_offset"]) == (topic.name, 0, 10, 10)
    assert set(lines(consumer, "warning")) <= {"topic differs from the settings"}
    replay = start("consumer", "replay")
    assert replay.wait() == 0
    assert quarantined(database) == [10]
    verify = start("consumer", "verify", "--full")
    assert verify.wait() == 0
    assert "Kafka holds 0 more" in verify.text()


@pytest.mark.parametrize("codec", CODECS)
def test_corrupt_batch_is_quarantined_offset_by_offset(
    start: StartService, topic: Topic, database: Database, codec: str
) -> None:
    """A bit flipped on a disk creates no wrong row, and no unconfirmed hole."""
    topic.create(partitions=1)
    groups = [heartbeats(count, seed=count) for count in (10, 33, 20)]
    for group in groups:
        send_batch(topic, group, codec=codec)
    flip_bit(topic, 10, at=61 + 20)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == {0: 63}, within_s=WITHIN_S)

    assert database.lost_and_surplus(groups[0] + groups[2]) == ([], [])
    assert quarantined(database) == list(range(10, 43))
    assert consumer.stop() == 0
    assert start("consumer", "verify", "--full").wait() == 0


def test_batches_that_follow_each_other_at_the_ends_of_a_log_are_quarantined(
    start: StartService, topic: Topic, database: Database
) -> None:
    """The first batch of a log, two in a row, and the last: an end is found wherever it is."""
    topic.create(partitions=1)
    groups = [heartbeats(count, seed=count) for count in (1, 2, 50, 5, 64)]
    for group in groups:
        send_batch(topic, group, codec="gzip")
    for first in (0, 3, 58):
        flip_bit(topic, first, at=61 + 20)
    flip_bit(topic, 1, at=61 + 20)
    start("consumer")
    wait_until(lambda: database.passed() == {0: 122}, within_s=2 * WITHIN_S)

    assert database.lost_and_surplus(groups[3]) == ([], [])
    assert quarantined(database) == [*range(53), *range(58, 122)]
    assert database.query("SELECT last_offset, last_fingerprint FROM kafka_ledger") == [(121, None)]
    more = topic.send_heartbeats(5, seed=77)
    wait_until(lambda: database.passed() == {0: 127})
    assert database.lost_and_surplus(groups[3] + more) == ([], [])


def test_batch_of_100000_records_is_passed_in_time(start: StartService, topic: Topic, database: Database) -> None:
    """However many records it holds, the others wait for seconds."""
    topic.create(partitions=1, **{"max.message.bytes": "50000000"})
    good = heartbeats(5)
    send_batch(topic, heartbeats(100_000), codec="zstd")
    send_batch(topic, good)
    assert [first for _, first in batches(log_of(topic))] == [0, 100_000]
    flip_bit(topic, 0, at=61 + 20)
    first = start("consumer")
    wait_until(lambda: database.passed().get(0, 0) > 0, within_s=WITHIN_S, what="the first part is quarantined")
    first.end()  # in the middle of the batch, perhaps: the next one goes on there
    start("consumer")
    wait_until(lambda: database.passed() == {0: 100_005}, within_s=WITHIN_S)

    assert database.lost_and_surplus(good) == ([], [])
    assert quarantined(database) == list(range(100_000))
    assert start("consumer", "verify", "--full").wait() == 0


def test_unreadable_batch_behind_markers_and_an_aborted_transaction_is_passed(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Offsets without a record stand before it, and none of them is taken for part of it."""
    topic.create(partitions=1)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(20)
    committed = heartbeats(10, seed=9)
    for rows, end in (
        (heartbeats(5), producer.abort_transaction),
        (committed[:5], producer.commit_transaction),
        (committed[5:], producer.commit_transaction),
        (heartbeats(5), producer.abort_transaction),
    ):
        producer.begin_transaction()
        for row in rows:
            producer.produce(topic.name, encode(row), partition=0)
        producer.flush(20)
        end(20)
    wait_until(lambda: topic.ends(1) == {0: 24}, what="the last marker is written, which the client does not wait for")
    send_batch(topic, heartbeats(8), codec="lz4")
    flip_bit(topic, 24, at=61 + 20)
    behind = topic.send_heartbeats(5, seed=4)
    start("consumer")
    wait_until(lambda: database.passed() == {0: 37}, within_s=WITHIN_S)

    assert database.lost_and_surplus(committed + behind) == ([], [])
    assert quarantined(database) == list(range(24, 32))
    assert database.query("SELECT stored, rejected, skipped FROM kafka_ledger") == [(15, 8, 14)]


def test_batch_that_cannot_be_passed_is_named_and_makes_the_consumer_unhealthy(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A partition that waits must not look like one with nothing to do, even if others go on."""
    topic.create(partitions=2)
    send_batch(topic, heartbeats(10))
    send_batch(topic, heartbeats(10, seed=3))
    flip_bit(topic, 10, at=16)  # its format's version, which no checksum covers
    port = find_free_port()
    consumer = start("consumer", HEARTBEAT_CONSUMER__METRICS_PORT=str(port))
    wait_until(lambda: database.passed().get(0) == 10)
    said = f"cannot read topic {topic.name}, partition 0, at offset 10: "
    wait_until(lambda: any(said in event.get("error", "") for event in consumer.events()), within_s=WITHIN_S)

    def unhealthy_though_others_go_on() -> bool:
        topic.send([(row[0].encode(), encode(row)) for row in heartbeats(2)], partition=1)
        time.sleep(0.5)
        return health(port) == 503

    wait_until(unhealthy_though_others_go_on, within_s=60)
    flip_bit(topic, 10, at=16)
    wait_until(lambda: database.passed().get(0) == 20, within_s=WITHIN_S, what="the batch is read once it is mended")
    wait_until(lambda: health(port) == 200)
    assert quarantined(database) == []


def test_huge_payload_is_quarantined_cut(start: StartService, topic: Topic, database: Database) -> None:
    """It can be read, but no event is that large; it is kept neither in memory nor as a whole."""
    topic.create(partitions=1)
    good = heartbeats(10)
    send_batch(topic, good[:5])
    send_bomb(topic, "gzip", 20_000_000)
    send_batch(topic, good[5:])
    start("consumer", HEARTBEAT_CONSUMER__MAX_PAYLOAD_BYTES="1000")
    wait_until(lambda: database.passed() == {0: 11}, within_s=WITHIN_S)

    assert database.lost_and_surplus(good) == ([], [])
    assert database.query('SELECT "offset", reason, key, payload, payload_length FROM rejected_heartbeats') == [
        (5, "event_too_large", b"bomb", b"a" * 1000, 20_000_000)
    ]
    assert start("consumer", "verify", "--full").wait() == 0
