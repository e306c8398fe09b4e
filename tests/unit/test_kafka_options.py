"""The consumer's client gets options that fit each other, whichever of them somebody set."""

import socket

import pytest
from confluent_kafka import Consumer

from common.kafka_options import MAX_FETCH_BYTES, consumer_options
from common.settings import Kafka, Options, Settings


def options_with(given: Options) -> Options:
    """Return the options of a consumer whose shared `librdkafka` section holds these."""
    return consumer_options(Settings().model_copy(update={"kafka": Kafka(librdkafka=given)}))


@pytest.mark.parametrize(
    ("given", "fetch", "receive"),
    [
        ({}, MAX_FETCH_BYTES, 32 * 1024**2),
        ({"message.max.bytes": 5_000_000}, 5_000_000, 32 * 1024**2),
        ({"message.max.bytes": "100000000"}, 100_000_000, 100_000_512),
        ({"fetch.max.bytes": 50_000_000}, 50_000_000, 50_000_512),
        ({"receive.message.max.bytes": 200_000_000}, MAX_FETCH_BYTES, 200_000_000),
    ],
)
def test_client_accepts_whatever_size_was_set(given: Options, fetch: int, receive: int) -> None:
    """It refuses a message larger than a fetch, and a fetch larger than an answer: all three are ours to set."""
    options = options_with(given)

    assert (options["fetch.max.bytes"], options["receive.message.max.bytes"]) == (fetch, receive)
    Consumer({**options, "bootstrap.servers": "127.0.0.1:1"}).close()


def test_size_that_is_no_number_is_left_to_the_client() -> None:
    """Its own words say which option it does not understand."""
    assert options_with({"fetch.max.bytes": "much"})["fetch.max.bytes"] == "much"


def test_client_is_named_after_its_machine() -> None:
    """Kafka's tools show the name of each group member: in compose it is the container's id, as `docker ps` has it."""
    assert options_with({})["client.id"] == f"heartbeat-{socket.gethostname()}"
    assert options_with({"client.id": "own"})["client.id"] == "own"
