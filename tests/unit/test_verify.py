"""The check of the ledger finds every way in which it can be wrong."""

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.figures import LedgerRow, Rows, faults_of

BOUNDED: Final = settings(max_examples=200, deadline=None)
LEDGER: Final = LedgerRow(
    generation=1, partition=0, topic="heartbeats", topic_id="id", start_offset=100, next_offset=200,
    stored=70, rejected=20, skipped=7, expired=3, stored_dropped=10, rejected_dropped=5,
)  # fmt: skip
STORED: Final = Rows(count=60, distinct=60, first=110, last=199)
REJECTED: Final = Rows(count=15, distinct=15, first=100, last=150)
COUNTS: Final = st.integers(0, 10**6)


@st.composite
def balanced(draw: st.DrawFn) -> tuple[LedgerRow, Rows, Rows]:
    """Draw a row of the ledger that balances, and what the tables then hold."""
    stored, rejected, skipped, expired, duplicates, erased = (draw(COUNTS) for _ in range(6))
    start = draw(st.integers(0, 2**39))
    end = start + stored + rejected + skipped + expired + duplicates + erased
    kept = draw(st.integers(0, stored)), draw(st.integers(0, rejected))
    ledger = LedgerRow(
        draw(st.integers(1, 127)), draw(st.integers(0, 65535)), "heartbeats", "id", start, end,
        stored, rejected, skipped, expired, stored - kept[0], rejected - kept[1],
        duplicates=duplicates, erased=erased,
    )  # fmt: skip
    # Rows lie anywhere in what was passed, and take as much room as they are many.
    firsts = [draw(st.integers(start, end - count)) for count in kept]
    rows = [Rows(n, n, first, first + n - 1) if n else Rows() for n, first in zip(kept, firsts, strict=True)]
    return ledger, rows[0], rows[1]


@BOUNDED
@given(balanced())
def test_ledger_that_balances_has_no_fault(found: tuple[LedgerRow, Rows, Rows]) -> None:
    """A proof that cries wolf is switched off; retention and empty partitions are no faults."""
    ledger, stored, rejected = found

    assert faults_of(ledger, stored, rejected) == []
    assert faults_of(ledger, None, None) == []


@BOUNDED
@given(
    balanced(),
    st.sampled_from(
        ["stored", "rejected", "skipped", "expired", "duplicates", "erased", "next_offset", "start_offset"]
    ),
    st.integers(-(10**6), 10**6).filter(bool),
)
def test_any_single_figure_that_is_off_is_a_fault(found: tuple[LedgerRow, Rows, Rows], name: str, by: int) -> None:
    """Without looking at a row, the ledger of each partition must explain each offset that was passed."""
    row = replace(found[0], **{name: getattr(found[0], name) + by})

    accounted = row.stored + row.rejected + row.skipped + row.expired + row.duplicates + row.erased
    assert faults_of(row, None, None) == [f"{row.passed} offsets passed, {accounted} accounted for"]


@pytest.mark.parametrize(
    ("stored", "rejected", "faults"),
    [
        (replace(STORED, count=59, distinct=59), REJECTED, ["heartbeats holds 59 rows, the ledger says 60"]),
        (replace(STORED, count=61, distinct=61), REJECTED, ["heartbeats holds 61 rows, the ledger says 60"]),
        (replace(STORED, distinct=58), REJECTED, ["heartbeats holds 2 rows twice"]),
        (replace(STORED, first=99), REJECTED, ["heartbeats holds offsets 99 to 199, outside of what was read"]),
        (replace(STORED, last=200), REJECTED, ["heartbeats holds offsets 110 to 200, outside of what was read"]),
        (Rows(), REJECTED, ["heartbeats holds 0 rows, the ledger says 60"]),
        (STORED, Rows(), ["rejected_heartbeats holds 0 rows, the ledger says 15"]),
        (STORED, replace(REJECTED, count=16), [
            "rejected_heartbeats holds 16 rows, the ledger says 15", "rejected_heartbeats holds 1 rows twice",
        ]),
        (STORED, replace(REJECTED, first=0), [
            "rejected_heartbeats holds offsets 0 to 150, outside of what was read",
        ]),
        (None, REJECTED, []),
        (STORED, REJECTED, []),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_the_ledger_are_named(
    stored: Rows | None, rejected: Rows | None, faults: list[str]
) -> None:
    """A lost, a repeated and a foreign row each betray themselves by the rows' ids alone."""
    assert faults_of(LEDGER, stored, rejected) == faults
