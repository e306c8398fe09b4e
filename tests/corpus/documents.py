"""Payloads that are no JSON, no object, or an object of an unusual kind."""

from typing import Final

from common.event import MAX_NESTING
from store.reasons import Reason
from tests.corpus.case import DIGITS, HUGE, TIME, Case, event, row

GOOD: Final = event()
INSIDE: Final = MAX_NESTING - 1  # levels that fit into a field, the event itself being one
LONE: Final = ', "lone": "\\ud800"'  # makes the quick parser give up, so that the exact one decides


def _arrays(depth: int) -> str:
    return "[" * depth + "]" * depth


def _objects(depth: int) -> str:
    return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)


ENCODINGS: Final = [
    Case("tombstone", None, Reason.TOMBSTONE),
    Case("empty", b"", Reason.NOT_JSON),
    Case("white space only", b" \t\r\n", Reason.NOT_JSON),
    Case("binary", bytes(range(256)), Reason.NOT_UTF8),
    Case("Latin-1 in a field", event('"Jürgen"').decode().encode("latin-1"), Reason.NOT_UTF8),
    Case("invalid UTF-8 in an unused field", event(also=', "x": "?"').replace(b"?", b"\xff"), Reason.NOT_UTF8),
    Case("invalid UTF-8 after the event", GOOD + b"\x80", Reason.NOT_UTF8),
    Case("overlong UTF-8", event('"?"').replace(b"?", b"\xc0\xaf"), Reason.NOT_UTF8),
    Case("surrogate in UTF-8", event('"?"').replace(b"?", b"\xed\xa0\x80"), Reason.NOT_UTF8),
    Case("surrogate in UTF-8, unused", event(also=', "x": "?"').replace(b"?", b"\xed\xa0\x80"), Reason.NOT_UTF8),
    Case("beyond Unicode", event('"?"').replace(b"?", b"\xf4\x90\x80\x80"), Reason.NOT_UTF8),
    Case("UTF-8 cut in a character", event('"\N{GRINNING FACE}').rstrip(b"}")[:18], Reason.NOT_UTF8),
    Case("byte order mark", b"\xef\xbb\xbf" + GOOD, Reason.NOT_JSON),
    Case("UTF-16 with byte order mark", GOOD.decode().encode("utf-16"), Reason.NOT_UTF8),
    Case("UTF-16 big endian", GOOD.decode().encode("utf-16-be"), Reason.NOT_JSON),
    Case("UTF-32 little endian", GOOD.decode().encode("utf-32-le"), Reason.NOT_JSON),
    Case("raw NUL after the event", GOOD + b"\0", Reason.NOT_JSON),
    Case("raw NUL in a field", event('"a\0b"'), Reason.NOT_JSON),
    Case("raw NUL in an unused field", event(also=', "x": "\0"'), Reason.NOT_JSON),
    Case("Confluent's schema header", b"\0\0\0\0\1" + GOOD, Reason.NOT_JSON),
    Case("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", Reason.NOT_UTF8),
]

SHAPES: Final = [
    Case("null", b"null", Reason.NOT_AN_OBJECT),
    Case("true", b"true", Reason.NOT_AN_OBJECT),
    Case("number", b"72", Reason.NOT_AN_OBJECT),
    Case("string", b'"72"', Reason.NOT_AN_OBJECT),
    Case("event as a string", b'"' + GOOD.replace(b'"', b'\\"') + b'"', Reason.NOT_AN_OBJECT),
    Case("empty array", b"[]", Reason.NOT_AN_OBJECT),
    Case("event in an array", b"[" + GOOD + b"]", Reason.NOT_AN_OBJECT),
    Case("empty object", b"{}", "customer_id_missing"),
    Case("event in an object", b'{"event": ' + GOOD + b"}", "customer_id_missing"),
    Case("two events", GOOD + GOOD, Reason.NOT_JSON),
    Case("two events, a comma between", GOOD + b"," + GOOD, Reason.NOT_JSON),
    Case("two events, a line each", GOOD + b"\n" + GOOD, Reason.NOT_JSON),
    Case("first half of an event", f'{{"customer_id": "a", "timestamp": "{TIME}"'.encode(), Reason.NOT_JSON),
    Case("second half of an event", b'"heart_rate": 72}', Reason.NOT_JSON),
    Case("comma and second half", b',"heart_rate": 72}', Reason.NOT_JSON),
    Case("one bracket short", GOOD[:-1], Reason.NOT_JSON),
    Case("one bracket too many", GOOD + b"}", Reason.NOT_JSON),
    Case("trailing comma", event(also=","), Reason.NOT_JSON),
    Case("single quotes", GOOD.replace(b'"', b"'"), Reason.NOT_JSON),
    Case("bare keys", b"{customer_id: 1}", Reason.NOT_JSON),
    Case("comment", GOOD + b" // good", Reason.NOT_JSON),
    Case("hexadecimal escape", event('"\\x41"'), Reason.NOT_JSON),
    Case("half an escape", event('"\\u00"'), Reason.NOT_JSON),
    Case("raw tab in a string", event('"a\tb"'), Reason.NOT_JSON),
    Case("raw line end in an unused field", event(also=', "x": "\n"'), Reason.NOT_JSON),
    Case("vertical tab outside", b"\x0b" + GOOD, Reason.NOT_JSON),
    Case("no-break space outside", "\N{NO-BREAK SPACE}".encode() + GOOD, Reason.NOT_JSON),
    Case("JSON's own white space outside", b"\r\n\t " + GOOD.replace(b" ", b"\n") + b"\t\n", row()),
    Case("no white space", GOOD.replace(b" ", b""), row()),
    Case("XML", b"<heartbeat/>", Reason.NOT_JSON),
]

DEPTHS: Final = [
    Case("arrays at the limit", event(also=f', "x": {_arrays(INSIDE)}'), row()),
    Case("arrays beyond the limit", event(also=f', "x": {_arrays(INSIDE + 1)}'), Reason.NESTED_TOO_DEEP),
    Case("objects at the limit", event(also=f', "x": {_objects(INSIDE)}'), row()),
    Case("objects beyond the limit", event(also=f', "x": {_objects(INSIDE + 1)}'), Reason.NESTED_TOO_DEEP),
    Case("arrays at the limit, exact way", event(also=f'{LONE}, "x": {_arrays(INSIDE)}'), row()),
    Case("arrays beyond, exact way", event(also=f'{LONE}, "x": {_arrays(INSIDE + 1)}'), Reason.NESTED_TOO_DEEP),
    Case("objects at the limit, exact way", event(also=f'{LONE}, "x": {_objects(INSIDE)}'), row()),
    Case("objects beyond, exact way", event(also=f'{LONE}, "x": {_objects(INSIDE + 1)}'), Reason.NESTED_TOO_DEEP),
    Case("array alone at the limit", _arrays(MAX_NESTING).encode(), Reason.NOT_AN_OBJECT),
    Case("array alone beyond the limit", _arrays(MAX_NESTING + 1).encode(), Reason.NESTED_TOO_DEEP),
    Case("deep customer", event(_arrays(INSIDE)), "customer_id_not_a_string"),
    Case("deep timestamp", event(timestamp=_objects(INSIDE)), "timestamp_not_a_string"),
    Case("deep heart rate", event(heart_rate=_arrays(INSIDE)), "heart_rate_not_an_integer"),
    Case("wide, not deep", event(also=', "x": [' + ", ".join(["[]"] * 1000) + "]"), row()),
    Case("brackets in a string", event(also=f', "x": "{"[" * 1000}"'), row()),
    Case("brackets in a string, exact way", event(also=f'{LONE}, "x": "\\"{"[{" * 1000}\\\\"'), row()),
    Case("huge, opened and never closed", b"[" * HUGE, Reason.NESTED_TOO_DEEP),
    Case("huge, objects never closed", b'{"a":' * (HUGE // 5), Reason.NESTED_TOO_DEEP),
]

SIZES: Final = [
    Case("huge unused string", event(also=f', "x": "{"a" * HUGE}"'), row()),
    Case("huge unused string, exact way", event(also=f'{LONE}, "x": "{"a" * HUGE}"'), row()),
    Case("huge unused integer", event(also=f', "x": {"9" * HUGE}'), row()),
    Case("huge unused array", event(also=f', "x": [{"0, " * (HUGE // 3)}0]'), row()),
    Case("huge customer", event(f'"{"a" * HUGE}"'), "customer_id_length"),
    Case("huge white space", b" " * HUGE, Reason.NOT_JSON),
    Case("huge string without an end", b'{"x": "' + b"a" * HUGE, Reason.NOT_JSON),
    # Looking for the string's end from every quote again would take hours.
    Case("huge, escaped quotes without an end", b'{"x": "' + b'\\"' * (HUGE // 2), Reason.NOT_JSON),
    Case("huge, quotes and an escaped end", b'{"x": ' + b'""' * (HUGE // 2) + b'"\\', Reason.NOT_JSON),
    Case("huge, backslashes without an end", b'{"x": "' + b"\\" * (HUGE + 1), Reason.NOT_JSON),
    Case("brackets in a string without an end", b'{"x": "' + b"[" * 1000, Reason.NOT_JSON),
    Case("unused integer of thousands of digits", event(also=f', "x": -{"1" * DIGITS}'), row()),
    Case("unused integer of thousands of digits, exact way", event(also=f'{LONE}, "x": {"1" * DIGITS}'), row()),
    Case("unused fraction of thousands of digits, exact way", event(also=f'{LONE}, "x": 1.{"1" * DIGITS}'), row()),
    Case("unused number beyond every double", event(also=', "x": 1e999999'), row()),
    Case("unused number beyond every double, exact way", event(also=f'{LONE}, "x": -1e999999'), row()),
]

UNUSED: Final = [
    Case("lone surrogate", event(also=LONE), row()),
    Case("lone surrogate as a key", event(also=', "\\udc00": 1'), row()),
    Case("surrogates in the wrong order", event(also=', "x": "\\ude00\\ud83d"'), row()),
    Case("NUL escape", event(also=', "x": "\\u0000"'), row()),
    Case("NUL escape as a key", event(also=', "\\u0000": 1'), row()),
    Case("empty key", event(also=', "": ""'), row()),
    Case("every kind of value", event(also=', "a": null, "b": [true, {}], "c": -0.5e-3, "d": "\\n\\/"'), row()),
    Case("keys in capitals", event(also=', "CUSTOMER_ID": 1, "Timestamp": 2, "heart-rate": "x"'), row()),
    Case("NaN", event(also=', "x": NaN'), Reason.NOT_JSON),
    Case("Infinity", event(also=', "x": Infinity'), Reason.NOT_JSON),
    Case("minus Infinity, nested", event(also=', "x": [{"y": -Infinity}]'), Reason.NOT_JSON),
    Case("NaN, exact way", event(also=f'{LONE}, "x": NaN'), Reason.NOT_JSON),
    Case("NaN and Infinity as words", event(also=', "NaN": "-Infinity"'), row()),
    Case("leading zero", event(also=', "x": 01'), Reason.NOT_JSON),
    Case("leading plus", event(also=', "x": +1'), Reason.NOT_JSON),
    Case("nothing after the point", event(also=', "x": 1.'), Reason.NOT_JSON),
    Case("capital True", event(also=', "x": True'), Reason.NOT_JSON),
]

CASES: Final = [
    *ENCODINGS,
    *SHAPES,
    *DEPTHS,
    *SIZES,
    *(Case(f"unused: {case.name}", case.payload, case.expected) for case in UNUSED),
]
