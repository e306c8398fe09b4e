"""Grafana's alert rules, as their file holds them, evaluated as Grafana does."""

import operator
from typing import Any, Final

import psycopg
import yaml

from local.service import ROOT

FILE: Final = ROOT / "grafana/provisioning/alerting/rules.yml"
COMPARE: Final = {"gt": operator.gt, "lt": operator.lt}
NUMBERS: Final = {20, 21, 23, 701}  # PostgreSQL's type oids: bigint, smallint, integer, double precision
TEXTS: Final = {25, 1043}  # text, varchar

Rule = dict[str, Any]
Labels = tuple[str, ...]


def rules() -> list[Rule]:
    """Return every rule."""
    groups = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def sql_of(rule: Rule) -> str:
    """Return a rule's query."""
    return str(rule["data"][0]["model"]["rawSql"])


def firing(reader: psycopg.Connection, rule: Rule) -> list[Labels]:
    """
    Return the labels of each row beyond the rule's limit.

    Its `for` is left out: it only waits. The result must be one that Grafana can use: one number, never NULL, and texts
    that differ from row to row.
    """
    cursor = reader.execute(sql_of(rule).encode())
    kinds = [column.type_code for column in cursor.description or ()]
    (number,) = [place for place, kind in enumerate(kinds) if kind in NUMBERS]
    assert set(kinds) <= NUMBERS | TEXTS
    rows = [(row[number], tuple(value for place, value in enumerate(row) if place != number)) for row in cursor]
    assert all(value is not None and None not in labels for value, labels in rows)
    assert len({labels for _, labels in rows}) == len(rows)
    evaluator = rule["data"][1]["model"]["conditions"][0]["evaluator"]
    return [labels for value, labels in rows if COMPARE[evaluator["type"]](value, *evaluator["params"])]


def fired(reader: psycopg.Connection) -> dict[str, list[Labels]]:
    """Return the rules that fire, by uid, with the labels of their alerts."""
    found = {rule["uid"]: firing(reader, rule) for rule in rules()}
    return {uid: labels for uid, labels in found.items() if labels}
