"""Objects whose customer or heart rate is missing, given twice, or not what it should be."""

from typing import Final

from store.reasons import Reason
from tests.corpus.case import (
    CUSTOMER_ID_MAX_CHARACTERS,
    DIGITS,
    HEART_RATE_MAX_BPM,
    HEART_RATE_MIN_BPM,
    TIME,
    Case,
    Row,
    event,
    row,
)

ASTRAL: Final = "\N{GRINNING FACE}"
COMBINING: Final = "\N{COMBINING ACUTE ACCENT}"

# As written between the quotes -> as PostgreSQL has to hold it.
GOOD_CUSTOMERS: Final = {
    "x": "x",
    "x" * CUSTOMER_ID_MAX_CHARACTERS: "x" * CUSTOMER_ID_MAX_CHARACTERS,
    ASTRAL * CUSTOMER_ID_MAX_CHARACTERS: ASTRAL * CUSTOMER_ID_MAX_CHARACTERS,
    "\\ud83d\\ude00" * CUSTOMER_ID_MAX_CHARACTERS: ASTRAL * CUSTOMER_ID_MAX_CHARACTERS,
    "\\\\N": "\\N",  # COPY's NULL
    "\\\\.": "\\.",  # COPY's end of data
    "\\\\": "\\",
    "\\\\" * CUSTOMER_ID_MAX_CHARACTERS: "\\" * CUSTOMER_ID_MAX_CHARACTERS,
    "a\\\\tb": "a\\tb",
    "\\\\101": "\\101",  # COPY's octal escape
    "\\\\x41": "\\x41",
    "a\\tb": "a\tb",
    "a\\nb": "a\nb",
    "a\\rb": "a\rb",
    "a\\r\\nb": "a\r\nb",
    "\\n\\\\.\\n": "\n\\.\n",
    "\\t": "\t",
    "\\b\\f\\u000b\\u0001\\u007f": "\b\f\v\x01\x7f",
    '\\"': '"',
    "\\/": "/",
    "'; DROP TABLE heartbeats; --": "'; DROP TABLE heartbeats; --",
    '\\"a\\",b': '"a",b',
    " ": " ",
    "   ": "   ",
    " CUST-000001 ": " CUST-000001 ",
    "\N{NO-BREAK SPACE}": "\N{NO-BREAK SPACE}",
    f"e{COMBINING}": f"e{COMBINING}",
    COMBINING * CUSTOMER_ID_MAX_CHARACTERS: COMBINING * CUSTOMER_ID_MAX_CHARACTERS,
    "\\u00e9": "é",
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}\N{BYTE ORDER MARK}": "\u202e\u200b\ufeff",
    "\\uffff\\ufdd0": "\uffff\ufdd0",
    "\N{LINE SEPARATOR}": "\u2028",
    "NULL": "NULL",
    "NaN": "NaN",
    "Infinity": "Infinity",
}

BAD_CUSTOMERS: Final = {
    "empty": ('""', "customer_id_length"),
    "a character too many": (f'"{"x" * (CUSTOMER_ID_MAX_CHARACTERS + 1)}"', "customer_id_length"),
    "an astral character too many": (f'"{ASTRAL * (CUSTOMER_ID_MAX_CHARACTERS + 1)}"', "customer_id_length"),
    "a combining character too many": (f'"{COMBINING * (CUSTOMER_ID_MAX_CHARACTERS + 1)}"', "customer_id_length"),
    "NUL escape": ('"\\u0000"', "customer_id_characters"),
    "NUL escape at the end": ('"CUST-000001\\u0000"', "customer_id_characters"),
    "NUL escape after a line end": ('"a\\n\\u0000"', "customer_id_characters"),
    "high surrogate": ('"\\ud800"', "customer_id_characters"),
    "low surrogate": ('"a\\udc00b"', "customer_id_characters"),
    "surrogates in the wrong order": ('"\\ude00\\ud83d"', "customer_id_characters"),
    "null": ("null", "customer_id_not_a_string"),
    "number": ("1", "customer_id_not_a_string"),
    "huge integer": ("1" * DIGITS, "customer_id_not_a_string"),
    "boolean": ("true", "customer_id_not_a_string"),
    "array": ('["CUST-000001"]', "customer_id_not_a_string"),
    "object": ("{}", "customer_id_not_a_string"),
}

GOOD_RATES: Final = {str(bpm): bpm for bpm in (HEART_RATE_MIN_BPM, 72, HEART_RATE_MAX_BPM)}

BAD_RATES: Final = {
    "0": "heart_rate_range",
    "-0": "heart_rate_range",
    "-1": "heart_rate_range",
    "-72": "heart_rate_range",
    str(HEART_RATE_MAX_BPM + 1): "heart_rate_range",
    "4294967368": "heart_rate_range",  # 2^32 + 72
    "18446744073709551688": "heart_rate_range",  # 2^64 + 72
    "1" + "0" * 30: "heart_rate_range",
    "9" * DIGITS: "heart_rate_range",
    "-" + "9" * DIGITS: "heart_rate_range",
    "72.0": "heart_rate_not_an_integer",
    "72.5": "heart_rate_not_an_integer",
    "0.0": "heart_rate_not_an_integer",
    "-0.0": "heart_rate_not_an_integer",
    "7e1": "heart_rate_not_an_integer",
    "7E+1": "heart_rate_not_an_integer",
    "720e-1": "heart_rate_not_an_integer",
    "1e999": "heart_rate_not_an_integer",
    '"72"': "heart_rate_not_an_integer",
    '""': "heart_rate_not_an_integer",
    '"\\ud800"': "heart_rate_not_an_integer",
    "true": "heart_rate_not_an_integer",
    "false": "heart_rate_not_an_integer",
    "null": "heart_rate_not_an_integer",
    "[72]": "heart_rate_not_an_integer",
    '{"bpm": 72}': "heart_rate_not_an_integer",
    "NaN": Reason.NOT_JSON,
    "Infinity": Reason.NOT_JSON,
    "-Infinity": Reason.NOT_JSON,
    "072": Reason.NOT_JSON,
    "+72": Reason.NOT_JSON,
    "72.": Reason.NOT_JSON,
    ".72e2": Reason.NOT_JSON,
    "0x48": Reason.NOT_JSON,
    "7_2": Reason.NOT_JSON,
    "\N{FULLWIDTH DIGIT SEVEN}": Reason.NOT_JSON,
    "": Reason.NOT_JSON,
    "-": Reason.NOT_JSON,
}

# What follows a good event -> the result.
TWICE: Final[dict[str, str | Row]] = {
    ', "customer_id": "b"': row("b"),
    ', "customer_id": ""': "customer_id_length",
    ', "timestamp": 1700000000': "timestamp_not_a_string",
    ', "heart_rate": 73': row(heart_rate=73),
    ', "heart_rate": "73"': "heart_rate_not_an_integer",
    f', "heart_rate": {HEART_RATE_MAX_BPM + 1}, "heart_rate": 74': row(heart_rate=74),
    ', "heart_rate": null, "x": 1, "heart_rate": 75': row(heart_rate=75),
    ', "heart\\u005frate": 76': row(heart_rate=76),
    ', "heart\\u005frate": 0': "heart_rate_range",
    ', "customer_id": "\\ud800", "customer_id": "c"': row("c"),
    ', "customer_id": "c", "customer_id": "\\ud800"': "customer_id_characters",
    f', "heart_rate": {"9" * DIGITS}, "heart_rate": 77': row(heart_rate=77),
    ', "x": {"heart_rate": 0, "customer_id": null}': row(),
}

CASES: Final = [
    *(Case(f"customer {text!a:.40}", event(f'"{text}"'), row(held)) for text, held in GOOD_CUSTOMERS.items()),
    *(Case(f"customer: {name}", event(text), reason) for name, (text, reason) in BAD_CUSTOMERS.items()),
    *(Case(f"rate {text}", event(heart_rate=text), row(heart_rate=rate)) for text, rate in GOOD_RATES.items()),
    *(Case(f"rate {text!a:.40}", event(heart_rate=text), reason) for text, reason in BAD_RATES.items()),
    *(Case(f"twice {also!a:.60}", event(also=also), result) for also, result in TWICE.items()),
    Case("first customer invalid, last good", b'{"customer_id": 1, ' + event()[1:], row()),
    Case("first rate invalid, last good", b'{"heart_rate": [], ' + event()[1:], row()),
    Case("customer missing", f'{{"timestamp": "{TIME}", "heart_rate": 72}}'.encode(), "customer_id_missing"),
    Case("timestamp missing", b'{"customer_id": "a", "heart_rate": 72}', "timestamp_missing"),
    Case("rate missing", f'{{"customer_id": "a", "timestamp": "{TIME}"}}'.encode(), "heart_rate_missing"),
    Case("other order", f'{{"heart_rate": 72, "timestamp": "{TIME}", "customer_id": "a"}}'.encode(), row("a")),
]
