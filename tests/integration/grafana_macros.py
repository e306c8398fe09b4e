"""What Grafana makes of a panel's SQL before PostgreSQL sees it; seen on 9.3.2, and the same in the sources since."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+):sqlstring\}")
MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")  # so an argument ends at the first closing parenthesis
UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


@dataclass(frozen=True)
class View:
    """
    What a person looks at.

    A time range in steps of `interval_ms`, some customers, and what is typed to find others: newer Grafanas pass it on
    without a closing %, and leave the variable's name in the query when nothing is typed (None).
    """

    start: datetime
    end: datetime
    interval_ms: int = 1_000
    customers: Sequence[str] = ("CUST-000001",)
    typed: str | None = "%"


def expand(sql: str, view: View) -> str:
    """
    Return the SQL that arrives at PostgreSQL.

    Raises:
        ValueError: Grafana does not know a macro, which it reports in the panel.
    """
    sql = VARIABLE.sub(lambda match: _in_the_browser(match, view), sql)
    return MACRO.sub(lambda match: _on_the_server(match, view), sql)


def _in_the_browser(match: re.Match[str], view: View) -> str:
    name = match[1] or match[2]
    if name == "customer":
        return ",".join("'" + customer.replace("'", "''") + "'" for customer in view.customers)
    if name == "__searchFilter" and view.typed is not None:
        return view.typed
    if name == "__interval_ms":
        return str(view.interval_ms)
    if name == "__interval":
        return next(f"{view.interval_ms // ms}{unit}" for unit, ms in UNITS_MS.items() if view.interval_ms % ms == 0)
    return match[0]


def _on_the_server(match: re.Match[str], view: View) -> str:
    name = match[1]
    if name == "__timeGroup" and match.string[match.end() :].startswith(","):
        name = "__timeGroupAlias"
    start, end = _quoted(view.start), _quoted(view.end)
    first, *others = [argument.strip() for argument in match[2].split(",")]
    if name == "__timeFilter":
        return f"{first} BETWEEN {start} AND {end}"
    if name in ("__timeFrom", "__timeTo"):
        return start if name == "__timeFrom" else end
    if name == "__time":
        return f'{first} AS "time"'
    if name == "__timeEpoch":
        return f'extract(epoch from {first}) as "time"'
    if name in ("__timeGroup", "__timeGroupAlias"):
        seconds = _seconds(others[0].strip("'"))
        alias = ' AS "time"' if name == "__timeGroupAlias" else ""
        return f"floor(extract(epoch from {first})/{seconds})*{seconds}{alias}"
    raise ValueError(f"unknown macro {match[0]}")


def _quoted(moment: datetime) -> str:
    """Write a moment as Go's RFC3339Nano does: to the millisecond, as the browser sends it, without closing zeros."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return f"'{text.rstrip('0').removesuffix('.') if '.' in text else text}Z'"


def _seconds(interval: str) -> str:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)", interval).groups()  # type: ignore[union-attr]  # an error if not
    return f"{int(number) * UNITS_MS[unit] / 1000:.10g}"
