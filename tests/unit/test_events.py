"""Events of the pipeline in memory: bounded, and never in the way of rows."""

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from store.events import DETAIL_LENGTH, MOST_WAITING, Events

DROPPED = "heartbeat_consumer_events_dropped_total"


def test_full_list_drops_the_oldest_counts_it_and_says_so_once() -> None:
    """A database that is away for days must not take the memory; what ends its outage is the newest event."""
    events = Events("consumer")
    before = REGISTRY.get_sample_value(DROPPED) or 0.0
    with capture_logs() as logs:
        for number in range(MOST_WAITING + 5):
            events.add("fenced", str(number))
        kept = [event.detail for event in events.waiting.values()]
        events.forget(events.waiting)
        for number in range(MOST_WAITING + 1):
            events.add("fenced", str(number))

    assert kept == [str(number) for number in range(5, MOST_WAITING + 5)]
    assert (REGISTRY.get_sample_value(DROPPED) or 0.0) - before == 6
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("oldest events of the pipeline dropped", "warning")
    ] * 2


def test_event_that_is_added_during_a_write_is_written_by_the_next() -> None:
    events = Events("consumer")
    events.add("started")
    written = events.waiting
    events.add("rebalance")
    events.forget(written)

    assert [event.kind for event in events.waiting.values()] == ["rebalance"]


def test_detail_fits_the_table_whatever_a_server_says() -> None:
    """One row that PostgreSQL refuses would block all later ones."""
    events = Events("consumer")
    events.add("outage", "\0\ud800" + "x" * 1000, began_s=0.0)
    [event] = events.waiting.values()

    assert event.detail == ("\\x00\\ud800" + "x" * 1000)[:DETAIL_LENGTH]
