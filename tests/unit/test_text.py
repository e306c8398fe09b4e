"""What a message holds reaches people as text only."""

import sys

import pytest

from common.errors import OutageError
from common.text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("CUST-000001 Zoë 心拍 back\\slash", "CUST-000001 Zoë 心拍 back\\slash"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b\x7f\x00", "\\x9b\\x7f\\x00"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202eabc\u2066\u2028", "\\u202eabc\\u2066\\u2028"),
        ("\ud800", "\\ud800"),
    ],
)
def test_only_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_no_character_reaches_a_terminal_unseen() -> None:
    """New versions of Unicode add some, which Python then does not call printable either."""
    assert all(visible(chr(number)).isprintable() for number in range(sys.maxunicode + 1))


def test_lines_are_kept_where_they_are_wanted() -> None:
    assert visible("one\n\ttwo\x1b", keep="\n") == "one\n\\ttwo\\x1b"


def test_error_is_text_whatever_a_server_said() -> None:
    """PostgreSQL repeats a row's values in its words."""
    error = OutageError("refused: A\x1b[2J\u202e", hint="Do it.")

    assert str(error) == "refused: A\\x1b[2J\\u202e\nHINT: Do it."
