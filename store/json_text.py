"""Parses JSON exactly (RFC 8259): a payload becomes a Python object, or a reason for quarantine."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from common.event import MAX_NESTING
from store.reasons import FaultError, NotAnEventError, Reason

KEYS_KEPT, LONGEST_KEPT = 1024, 100  # keys and their characters, arbitrary; a sender may write keys of megabytes
LONGEST_INTEGER: Final = 20  # characters of the longest bigint
# Of PostgreSQL's numeric, in which jsonb stores numbers. Source: PostgreSQL's manual, "Numeric Types".
DIGITS_BEFORE_POINT: Final = 131_072
DIGITS_AFTER_POINT: Final = 16_383

# Also matches a string without an end: searching for the end from each quote would take quadratic time.
_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS: Final = re.compile(r"[^][{}]+")
_NUMBERS: Final = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?")
_BLANKS: Final = re.compile(r"[ \t\r\n]*")
# An escape for a character, or an exponent of four digits.
_ODD: Final = re.compile(rb"\\u|[0-9][eE][-+]?[0-9]{4}")

_DIGITS_TO_0: Final = bytes.maketrans(b"123456789E", b"000000000e")


class Long(str):
    """The digits of a whole number outside every range. Python refuses to convert thousands of digits."""

    __slots__ = ()


def read_object(payload: bytes) -> tuple[dict[str, Any], str]:
    """
    Read a payload that must be one JSON object. If a key occurs twice, the last one counts.

    Returns:
        The object, and its text.
    Raises:
        NotAnEventError: It is not one.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise NotAnEventError(Reason.NOT_UTF8) from None
    if _is_nested_too_deep(text):
        raise NotAnEventError(Reason.NESTED_TOO_DEEP)
    try:
        found = json.loads(text, parse_constant=_refuse_constant, parse_int=_read_integer)
    except ValueError:
        raise NotAnEventError(Reason.NOT_JSON) from None
    if not isinstance(found, dict):
        raise NotAnEventError(Reason.NOT_AN_OBJECT)
    return found, text


def members_of(text: str) -> dict[str, str]:
    """Return the text of each value of an object, by its key; `text` is one that `read_object` has accepted."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    found: dict[str, str] = {}
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        begin = _skip(text, _skip(text, at) + 1)  # beyond the colon
        _, end = decoder.raw_decode(text, begin)
        found[key] = text[begin:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def object_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Return an object as JSON in UTF-8, given its keys and the JSON text of each value."""
    return b"{" + b", ".join([_KEYS[key] + text for key, text in members]) + b"}"


class _Keys(dict[str, bytes]):
    """The latest short keys as JSON, with a colon. Most events have the same."""

    def __missing__(self, key: str) -> bytes:
        found = f"{json.dumps(key, ensure_ascii=not is_unicode(key))}: ".encode()
        if len(key) <= LONGEST_KEPT:
            if len(self) >= KEYS_KEPT:
                self.clear()
            self[key] = found
        return found


_KEYS: Final = _Keys()


def check_storable(text: str) -> None:
    """
    Refuse JSON that `jsonb` cannot hold.

    Raises:
        FaultError: `characters`: a string holds NUL or a lone surrogate; `range`: a number does not fit into numeric.
    """
    if not is_unicode(text):
        raise FaultError("characters")
    for string in _STRINGS.findall(text):
        if "\\u" in string and not is_storable(json.loads(string)):
            raise FaultError("characters")
    for whole, fraction, exponent in _NUMBERS.findall(_STRINGS.sub("", text)):
        shift = int(exponent.lstrip("+-0")[:9] or 0) * (-1 if exponent[:1] == "-" else 1)  # cut, far beyond both limits
        if len(whole) + shift > DIGITS_BEFORE_POINT or len(fraction) - shift > DIGITS_AFTER_POINT:
            raise FaultError("range")


def are_plainly_storable(texts: Sequence[bytes]) -> bool:
    """Return True only if `check_storable` accepts all this valid JSON. A quick check: False leaves the answer open."""
    joined = b"\n".join(texts)
    # These are ten times as fast as the search.
    may_be_odd = b"\\" in joined or b"0e" in joined.translate(_DIGITS_TO_0)
    return max(map(len, texts), default=0) < DIGITS_AFTER_POINT // 2 and not (may_be_odd and _ODD.search(joined))


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL's text can hold this: no NUL, no lone surrogate."""
    return "\0" not in text and is_unicode(text)


def is_unicode(text: str) -> bool:
    """Return whether the text has no lone surrogate. JSON can write one, UTF-8 cannot encode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _is_nested_too_deep(text: str) -> bool:
    depth = 0
    for bracket in _NO_BRACKETS.sub("", _STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def _refuse_constant(_name: str) -> None:
    raise ValueError


def _read_integer(digits: str) -> int | Long:
    return int(digits) if len(digits) <= LONGEST_INTEGER else Long(digits)
