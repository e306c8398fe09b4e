"""
The hostile corpus: every payload that a person, a defect or an enemy may put into the topic, and what becomes of it.

One corpus for every engine and every level of test, so that all of them mean the same by a valid heartbeat.
"""

from typing import Final

from tests.corpus import documents, fields, timestamps
from tests.corpus.case import Case

CASES: Final[list[Case]] = [*documents.CASES, *fields.CASES, *timestamps.CASES]
