"""Old rows are announced at once, then at most every so often, and none is left out."""

import pytest
from structlog.testing import capture_logs

from store.old_rows import OldRows

YEAR_US = 365 * 86_400 * 1_000_000


def test_old_rows_are_announced_at_once_and_then_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of a million old rows is a line every ten seconds, not a line a batch."""
    now = 100.0
    monkeypatch.setattr("store.old_rows.time.monotonic", lambda: now)
    old = OldRows(7)
    with capture_logs() as lines:
        for count, oldest_us in ((0, 0), (3, YEAR_US), (5, 3 * YEAR_US), (7, -2 * YEAR_US), (0, 0)):
            old.add(count, oldest_us)
        now += 10
        old.add(0, 0)
        now += 10
        old.add(0, 0)
        old.add(1, YEAR_US)

    assert [(line["count"], line["oldest"][:10]) for line in lines] == [
        (3, "1971-01-01"),
        (12, "1968-01-02"),
        (1, "1971-01-01"),
    ]
    assert {line["log_level"] for line in lines} == {"warning"}
