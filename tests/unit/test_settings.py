"""Settings are checked whole before the first connection, and a mistake is named so that it can be mended."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml
from pydantic import ValidationError

from common.errors import ConfigError
from common.event import MAX_FUTURE
from common.settings import Settings, load

ROOT: Final = Path(__file__).parents[2]
Write = Callable[[str], Path]


def mistake(path: Path) -> ConfigError:
    """Load settings that cannot be used, and give the error: one line of what, one of what to do, exit code 2."""
    with pytest.raises(ConfigError) as raised:
        load(path)
    error = raised.value
    assert "\n" not in error.message
    assert "\n" not in error.hint
    assert error.hint.endswith((".", "?"))
    assert error.exit_code == 2
    return error


def test_config_yml_says_what_the_code_says(config: Write) -> None:
    """Who reads the file reads the defaults, all of them; who deletes a line changes nothing."""
    path = ROOT / "config.yml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = {name: set(type(field.default).model_fields) for name, field in Settings.model_fields.items()}

    assert load(path) == load(config(""))
    assert {section: set(keys) for section, keys in written.items()} == names


def test_no_section_is_needed(config: Write) -> None:
    """The defaults are those of the specification."""
    settings = load(config("# nothing\n"))

    assert (settings.kafka.bootstrap_servers, settings.kafka.topic) == ("kafka:9092", "heartbeats")
    assert (settings.kafka.partitions, settings.kafka.group_id) == (6, "heartbeat-consumer")
    assert (settings.postgresql.host, settings.postgresql.port) == ("postgresql", 5432)
    assert (settings.producer.customers, settings.producer.interval_s) == (1000, 1)
    assert settings.consumer.max_future_s == MAX_FUTURE.total_seconds() == 300
    assert settings.logging.format == "auto"


def test_settings_cannot_be_changed(config: Write) -> None:
    """What was checked at the start holds until the end."""
    settings = load(config(""))

    with pytest.raises(ValidationError):
        settings.consumer.max_batch = 0  # type: ignore[misc]  # that is the point
    with pytest.raises(ValidationError):
        settings.kafka = settings.kafka  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("consumer", "max_batch: 0", "must be greater than or equal to 1 (got 0)"),
        ("consumer", "max_batch: 100001", "must be less than or equal to 100000 (got 100001)"),
        ("consumer", "max_batch: many", "must be a valid integer, unable to parse string as an integer"),
        ("consumer", "max_batch: ", "must be a valid integer (got None)"),
        ("consumer", "max_batch: 1.5", "must be a valid integer, got a number with a fractional part (got 1.5)"),
        ("consumer", "max_wait_s: 0", "must be greater than or equal to 0.001 (got 0)"),
        ("consumer", "max_wait_s: 11", "must be less than or equal to 10 (got 11)"),
        ("consumer", "max_wait_s: .nan", "must be less than or equal to 10 (got nan)"),
        ("consumer", "max_future_s: -1", "must be greater than or equal to 0 (got -1)"),
        ("consumer", "max_future_s: .inf", "must be less than or equal to 315360000 (got inf)"),
        ("consumer", "max_payload_bytes: -1", "must be greater than or equal to 0 (got -1)"),
        ("consumer", "max_payload_bytes: 536870913", "must be less than or equal to 536870912 (got 536870913)"),
        ("consumer", "rejected_max_bytes: 67108863", "must be 0 or at least 67108864 (got 67108863)"),
        ("consumer", "metrics_port: 65536", "must be less than or equal to 65535 (got 65536)"),
        ("consumer", "metrics_port: -1", "must be greater than or equal to 0 (got -1)"),
        ("consumer", "skip_expired: perhaps", "must be a valid boolean, unable to interpret input"),
        ("producer", "customers: 0", "must be greater than or equal to 1 (got 0)"),
        ("producer", "customers: 1000001", "must be less than or equal to 1000000 (got 1000001)"),
        ("producer", "interval_s: -1", "must be greater than or equal to 0 (got -1)"),
        ("producer", "interval_s: 86401", "must be less than or equal to 86400 (got 86401)"),
        ("producer", "seed: -1", "must be greater than or equal to 0 (got -1)"),
        ("producer", "flush_timeout_s: 0", "must be greater than 0 (got 0)"),
        ("producer", "flush_timeout_s: 3601", "must be less than or equal to 3600 (got 3601)"),
        ("kafka", "partitions: 0", "must be greater than or equal to 1 (got 0)"),
        ("kafka", "partitions: 65537", "must be less than or equal to 65536 (got 65537)"),
        ("kafka", "replication_factor: 0", "must be greater than or equal to 1 (got 0)"),
        ("kafka", "replication_factor: 32768", "must be less than or equal to 32767 (got 32768)"),
        ("kafka", "retention_hours: -2", "must be greater than or equal to -1 (got -2)"),
        ("kafka", "retention_bytes: -2", "must be greater than or equal to -1 (got -2)"),
        ("kafka", "max_message_bytes: 16383", "must be greater than or equal to 16384 (got 16383)"),
        ("kafka", "max_message_bytes: 52428801", "must be less than or equal to 52428800 (got 52428801)"),
        ("kafka", "topic: a b", "must have 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'"),
        ("kafka", "bootstrap_servers: ''", "string should have at least 1 character (got '')"),
        ("kafka", "group_id: ''", "string should have at least 1 character (got '')"),
        ("kafka", "group_protocol: eager", "must be 'consumer' or 'classic'"),
        ("postgresql", "port: 0", "must be greater than or equal to 1 (got 0)"),
        ("postgresql", "port: 65536", "must be less than or equal to 65535 (got 65536)"),
        ("postgresql", "port: '5432,0'", "must be greater than or equal to 1 (got '0')"),
        ("postgresql", "host: ''", "string should have at least 1 character (got '')"),
        ("logging", "format: xml", "must be 'auto', 'console' or 'json'"),
        ("logging", "level: loud", "must be 'debug', 'info', 'warning' or 'error'"),
        ("kafka", "librdkafka: all", "must be a valid dictionary"),
    ],
)  # fmt: skip
def test_wrong_value_is_named_with_what_it_must_be_and_what_it_is(
    config: Write, section: str, value: str, message: str
) -> None:
    """A person mends it without looking anything up. A word is not repeated: it may be a misplaced password."""
    error = mistake(config(f"{section}: {{{value}}}"))

    assert error.message == f"{section}.{value.partition(':')[0]}: {message}"
    assert "settings.yml" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        "consumer: {max_batch: 1, max_wait_s: 0.001, max_future_s: 0, max_payload_bytes: 0, metrics_port: 0}",
        "consumer: {max_batch: 100000, max_wait_s: 10, max_future_s: 315360000, metrics_port: 65535}",
        "consumer: {max_payload_bytes: 536870912, rejected_max_bytes: 67108864}",
        "consumer: {rejected_max_bytes: 0}",
        "producer: {customers: 1, interval_s: 0, seed: 0, flush_timeout_s: 0.1, metrics_port: 0}",
        "producer: {customers: 1000000, interval_s: 86400, flush_timeout_s: 3600}",
        "kafka: {partitions: 1, replication_factor: 1, retention_hours: -1, retention_bytes: -1}",
        "kafka: {partitions: 65536, replication_factor: 32767, topic: a.B_c-9}",
        "postgresql: {port: 1}",
        "postgresql: {port: 65535}",
        "postgresql: {host: 'one,two', port: '5432,5433'}",
    ],
)
def test_bounds_themselves_are_allowed(config: Write, text: str) -> None:
    """The error says 'or equal to'."""
    section, values = next(iter(yaml.safe_load(text).items()))

    found = load(config(text)).model_dump()[section]

    assert {key: found[key] for key in values} == values


def test_all_mistakes_are_listed_at_once(config: Write) -> None:
    """An operator must not start a service five times to learn of five mistakes."""
    error = mistake(config("consumer: {max_batch: 0, colour: red}\nlogging: {level: loud}\nsurplus: {}"))

    assert [part.partition(" (got")[0] for part in error.message.split("; ")] == [
        "consumer.max_batch: must be greater than or equal to 1",
        "consumer.colour: unknown key",
        "logging.level: must be 'debug', 'info', 'warning' or 'error'",
        "surplus: unknown key",
    ]


@pytest.mark.parametrize("text", ["consumer: 5", "consumer: [max_batch]", "consumer:"])
def test_section_without_keys_is_a_mistake(config: Write, text: str) -> None:
    """A section whose keys were commented out is not taken for its defaults behind a person's back."""
    assert mistake(config(text)).message.startswith("consumer: must be ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"consumer: [", "cannot read the settings file settings.yml: while parsing a flow node"),
        (b"consumer:\n\tmax_batch: 1", "found character '\\t' that cannot start any token"),
        (b"consumer: {max_batch: 1", "expected ',' or '}'"),
        (b"consumer: \x00", "special characters are not allowed"),
        (b"producer: {seed: 2026-13-45}", "cannot read the settings file settings.yml: "),
        (b"logging: {level: \xfc}", "cannot read the settings file settings.yml: it is not UTF-8 text"),
        (b"- consumer", "cannot use the settings file settings.yml: it has no sections"),
        (b"consumer", "cannot use the settings file settings.yml: it has no sections"),
        (b"1: {max_batch: 1}", "cannot use the settings file settings.yml: it has no sections"),
    ],
)
def test_file_that_cannot_be_used_is_a_mistake(bare_folder: Path, content: bytes, says: str) -> None:
    """A slip of the keyboard gives one line, not a traceback."""
    (bare_folder / "settings.yml").write_bytes(content)

    assert says in mistake(Path("settings.yml")).message


def test_missing_file_and_folder_are_named(bare_folder: Path) -> None:
    """The first start from the wrong folder says what to do."""
    missing, folder = mistake(Path("config.yml")), mistake(bare_folder)

    assert missing.message == "cannot read the settings file config.yml: No such file or directory"
    assert "--config" in missing.hint
    assert folder.message == f"cannot read the settings file {bare_folder}: Is a directory"
