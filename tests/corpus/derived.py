"""The hostile corpus of any contract: its fields' samples, and the documents that are hostile whatever the contract."""

from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from contracts.contract import Contract, Unknown
from contracts.fields import AnyField, Json, Timestamp, Uuid
from store.reasons import Reason
from store.timestamps import EPOCH
from store.validation import Event
from tests.corpus import documents
from tests.corpus.documents import LONE
from tests.corpus.samples import read_json, samples_of

# Results on a document as a whole; it never comes to the contract.
OF_DOCUMENTS: Final = {Reason.TOMBSTONE, Reason.NOT_UTF8, Reason.NOT_JSON, Reason.NESTED_TOO_DEEP, Reason.NOT_AN_OBJECT}

Values = tuple[Any, ...]  # of a contract's columns, in their order, as psycopg reads them


class DerivedCase(NamedTuple):
    """A payload, and the row that it becomes or the reason why it does not."""

    name: str
    payload: bytes | None
    expected: Values | str


def write(texts: dict[str, str], also: str = "") -> bytes:
    """Write an object whose values are given as JSON text; `also` follows them."""
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + also + "}").encode()


def values_of(contract: Contract, event: Event) -> Values:
    """Return an event's values as psycopg reads them back."""
    return tuple(
        value if value is None else _value_of(field, value)
        for field, value in zip(contract.columns, event, strict=True)
    )


def _value_of(field: AnyField, value: Any) -> Any:  # noqa: ANN401 - of any kind
    match field:
        case Timestamp():
            return EPOCH + timedelta(microseconds=value)
        case Uuid():
            return UUID(bytes=value)
        case Json():
            return read_json(value)
        case _:
            return value


def cases_of(contract: Contract) -> list[DerivedCase]:
    """Derive them; their names are unique."""
    samples = {field.name: samples_of(field) for field in contract.fields}
    texts = {name: next(iter(of_field.good)) for name, of_field in samples.items()}
    usual = {name: next(iter(of_field.good.values())) for name, of_field in samples.items()}

    def row(others: dict[str, Any] | None = None, **changed: Any) -> Values:  # noqa: ANN401 - of any kind
        kept = () if contract.keep_unknown_in is None else (others or {},)
        return (*(usual | changed).values(), *kept)

    found = [DerivedCase("usual", write(texts), row())]
    for field in contract.fields:
        name, of_field = field.name, samples[field.name]
        rest = {other: text for other, text in texts.items() if other != name}
        null = row(**{name: None}) if field.nullable else None
        found += [
            *(DerivedCase(f"{name} {number}: {text!a:.60}", write(texts | {name: text}), row(**{name: value}))
              for number, (text, value) in enumerate(of_field.good.items())),
            *(DerivedCase(f"{name} {text!a:.60} is bad", write(texts | {name: text}), f"{name}_{fault}")
              for text, fault in of_field.bad.items() if text != "null"),
            DerivedCase(f"{name} missing", write(rest), null or f"{name}_missing"),
            DerivedCase(f"{name} null", write(texts | {name: "null"}), null or f"{name}_{_fault_of_null(field)}"),
            DerivedCase(f"{name} twice, last good", write({name: "[{}]"})[:-1] + b", " + write(texts)[1:], row()),
            DerivedCase(f"{name} twice, last bad", write(texts, f', "{name}": {next(iter(of_field.bad))}'),
                        f"{name}_{next(iter(of_field.bad.values()))}"),
            DerivedCase(f"{name} with an escape in the key",
                        write(rest | {f"\\u{ord(name[0]):04x}{name[1:]}": texts[name]}), row()),
        ]  # fmt: skip
    for also in (', "": {"more": [1, null]}', ', "X": 1, "X": "\\n"', f', "{contract.key.upper()}": 1e3'):
        others = read_json("{" + also[2:] + "}")
        refused = Reason.UNKNOWN_FIELD if contract.unknown is Unknown.REFUSED else row(others)
        found.append(DerivedCase(f"also {also}", write(texts, also), refused))
    return [*found, *_of_lone_surrogate(contract, texts, row()), *_of_documents()]


def _of_lone_surrogate(contract: Contract, texts: dict[str, str], row: Values) -> list[DerivedCase]:
    expected: Values | str = row
    if contract.unknown is Unknown.REFUSED:
        expected = Reason.UNKNOWN_FIELD
    elif contract.keep_unknown_in:
        expected = f"{contract.keep_unknown_in}_characters"
    return [DerivedCase("also a lone surrogate", write(texts, LONE), expected)]


def _of_documents() -> list[DerivedCase]:
    return [
        DerivedCase(case.name, case.payload, case.expected)
        for case in documents.CASES
        if isinstance(case.expected, str) and case.expected in OF_DOCUMENTS
    ]


def _fault_of_null(field: AnyField) -> str:
    return {
        "Json": "null", "Integer": "not_an_integer", "IntegerArray": "not_an_array", "Float": "not_a_number",
        "Boolean": "not_a_boolean",
    }.get(type(field).__name__, "not_a_string")  # fmt: skip
