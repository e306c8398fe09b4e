"""The tests' own expansion of Grafana's macros, held against what was seen at PostgreSQL."""

from datetime import UTC, datetime

import pytest

from tests.integration.grafana_macros import View, expand

VIEW = View(
    start=datetime(2026, 11, 22, 9, 30, 44, 574_000, UTC),
    end=datetime(2026, 11, 22, 10, 30, 44, 574_000, UTC),
    interval_ms=30_000,
    customers=("CUST-000001", "O'Brien"),
)
BY_MINUTE = 'floor(extract(epoch from "timestamp")/60)*60'


@pytest.mark.parametrize(
    ("written", "arrives"),
    [
        (
            '$__timeFilter("timestamp")',
            "\"timestamp\" BETWEEN '2026-11-22T09:30:44.574Z' AND '2026-11-22T10:30:44.574Z'",
        ),
        ("$__timeGroup(\"timestamp\",'1m') AS time", f"{BY_MINUTE} AS time"),
        ("$__timeGroup(\"timestamp\",'1m'), 1", f'{BY_MINUTE} AS "time", 1'),
        ("$__timeGroupAlias(\"timestamp\",'1m')", f'{BY_MINUTE} AS "time"'),
        ("$__timeGroupAlias(\"timestamp\",'1m',0)", f'{BY_MINUTE} AS "time"'),
        ("$__timeGroupAlias(\"timestamp\",'1m', NULL)", f'{BY_MINUTE} AS "time"'),
        ("$__timeGroup(t,$__interval)", "floor(extract(epoch from t)/30)*30"),
        ("'$__interval' $__interval_ms", "'30s' 30000"),
        ("$__time(c), $__timeEpoch(c)", 'c AS "time", extract(epoch from c) as "time"'),
        ("$__timeFrom() $__timeTo()", "'2026-11-22T09:30:44.574Z' '2026-11-22T10:30:44.574Z'"),
        ("IN ($customer)", "IN ('CUST-000001','O''Brien')"),
        ("ARRAY[${customer:sqlstring}]", "ARRAY['CUST-000001','O''Brien']"),
        ("LIKE '$__searchFilter'", "LIKE '%'"),
        ("$__timeFilter(date_trunc('minute',\"timestamp\"))", "date_trunc('minute' BETWEEN"),
        ('$__timeFilter("timestamp"::timestamptz)', '"timestamp"::timestamptz BETWEEN'),
    ],
)
def test_macros_become_what_grafana_makes_of_them(written: str, arrives: str) -> None:
    """A dashboard's test is worth as much as its likeness to Grafana."""
    assert expand(written, VIEW).startswith(arrives)


@pytest.mark.parametrize("written", ["$__timefilter(c)", "$__timeBucket(c)", "$count(c)"])
def test_macros_that_grafana_does_not_know_are_refused(written: str) -> None:
    """Case matters to Grafana; such a panel shows an error."""
    with pytest.raises(ValueError, match="unknown macro"):
        expand(written, VIEW)


@pytest.mark.parametrize(
    ("moment", "arrives"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 0, UTC), "'2026-01-02T03:04:05Z'"),
        (datetime(2026, 1, 2, 3, 4, 50, 120_000, UTC), "'2026-01-02T03:04:50.12Z'"),
    ],
)
def test_moments_lose_their_closing_zeros(moment: datetime, arrives: str) -> None:
    """As Go writes them: 50 seconds stay 50."""
    assert expand("$__timeFrom()", View(moment, moment)) == arrives
