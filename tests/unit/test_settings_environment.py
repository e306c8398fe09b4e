"""The environment goes over `.env`, `.env` over the file; a misspelt name is refused, not ignored."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import Settings, load

Write = Callable[[str], Path]


def every_variable() -> list[str]:
    """Name each variable that sets something."""
    sections = {name: type(field.default) for name, field in Settings.model_fields.items()}
    return [f"HEARTBEAT_{section}__{key}".upper() for section, model in sections.items() for key in model.model_fields]


def test_environment_goes_over_env_file_over_settings_file(
    bare_folder: Path, config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is nearest to the person who starts the service wins; the rest stays."""
    path = config("consumer: {max_batch: 1, max_wait_s: 1, max_future_s: 1, skip_expired: true}")
    (bare_folder / ".env").write_text("HEARTBEAT_CONSUMER__MAX_BATCH=2\nHEARTBEAT_CONSUMER__MAX_WAIT_S=2\n")
    monkeypatch.setenv("HEARTBEAT_CONSUMER__MAX_BATCH", "3")

    consumer = load(path).consumer

    assert (consumer.max_batch, consumer.max_wait_s, consumer.max_future_s) == (3, 2, 1)
    assert consumer.skip_expired


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS", "localhost:9094", ("kafka", "bootstrap_servers", "localhost:9094")),
        ("HEARTBEAT_POSTGRESQL__HOST", "localhost", ("postgresql", "host", "localhost")),
        ("HEARTBEAT_POSTGRESQL__PORT", "5434", ("postgresql", "port", 5434)),
        ("HEARTBEAT_PRODUCER__CUSTOMERS", "250000", ("producer", "customers", 250_000)),
        ("HEARTBEAT_PRODUCER__SEED", "7", ("producer", "seed", 7)),
        ("HEARTBEAT_CONSUMER__SKIP_EXPIRED", "true", ("consumer", "skip_expired", True)),
        ("HEARTBEAT_CONSUMER__SYNCHRONOUS_COMMIT", "false", ("consumer", "synchronous_commit", False)),
        ("HEARTBEAT_LOGGING__FORMAT", "json", ("logging", "format", "json")),
        ("heartbeat_logging__level", "debug", ("logging", "level", "debug")),
        ("HEARTBEAT_KAFKA__LIBRDKAFKA", '{"a.b": 1}', ("kafka", "librdkafka", {"a.b": 1})),
        (
            "HEARTBEAT_KAFKA__LIBRDKAFKA__SECURITY.PROTOCOL",
            "ssl",
            ("kafka", "librdkafka", {"security.protocol": "ssl"}),
        ),
        ("HEARTBEAT_CONSUMER", '{"max_batch": 5}', ("consumer", "max_batch", 5)),
    ],
)
def test_any_value_is_set_by_its_variable(
    config: Write, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: tuple[str, str, object]
) -> None:
    """The names stand in the specification and in people's scripts."""
    monkeypatch.setenv(name, value)
    section, key, meant = expected

    assert load(config("")).model_dump()[section][key] == meant


@pytest.mark.parametrize("name", every_variable())
def test_value_from_the_environment_is_checked_as_well(
    config: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A variable without effect would go unnoticed: an invalid value of each one must be refused."""
    section, key = name.removeprefix("HEARTBEAT_").lower().split("__")
    default = load(config("")).model_dump()[section][key]
    value = "-7" if isinstance(default, (int, float)) or default is None else "<>" if key == "topic" else ""
    monkeypatch.setenv(name, value)

    try:
        found = load(config("")).model_dump()[section][key]
    except ConfigError as error:
        assert f"{section}.{key}" in error.message or key in {"librdkafka", "libpq"}  # noqa: PT017 - either ending will do
    else:
        assert found == value != default


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HEARTBEAT_CONSUMER__MAX_BACH", "Did you mean HEARTBEAT_CONSUMER__MAX_BATCH?"),
        ("HEARTBEAT_CONSUMER_MAX_BATCH", "Did you mean HEARTBEAT_CONSUMER__MAX_BATCH?"),
        ("HEARTBEAT_CONSUMR__MAX_BATCH", "Did you mean HEARTBEAT_CONSUMER__MAX_BATCH?"),
        ("HEARTBEAT_KAFKA__BOOTSTRAP_SERVER", "Did you mean HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS?"),
        ("HEARTBEAT_CONSUMER__MAX_BATCH__X", "Did you mean HEARTBEAT_CONSUMER__MAX_BATCH?"),
        ("heartbeat_consumer__max_bach", "Did you mean HEARTBEAT_CONSUMER__MAX_BATCH?"),
        ("HEARTBEAT_ZZZZZZZZZZZZZZZZZZZZ", "Names are HEARTBEAT_<SECTION>__<KEY>, as in config.yml."),
        ("HEARTBEAT_LIBPQ__SSLMODE", None),
    ],
)
def test_misspelt_variable_is_refused(
    config: Write, monkeypatch: pytest.MonkeyPatch, name: str, hint: str | None
) -> None:
    """A limit that silently stays at its default is worse than an error."""
    monkeypatch.setenv(name, "1")

    with pytest.raises(ConfigError) as raised:
        load(config(""))

    assert raised.value.message == f"{name}: unknown setting"
    assert hint is None or raised.value.hint == hint


def test_misspelt_variable_in_env_file_is_refused(bare_folder: Path, config: Write) -> None:
    """The same, for what stands in .env."""
    (bare_folder / ".env").write_text("HEARTBEAT_CONSUMER__MAX_BACH=1\n")

    with pytest.raises(ConfigError, match="HEARTBEAT_CONSUMER__MAX_BACH: unknown setting"):
        load(config(""))


def test_variables_of_others_are_left_alone(bare_folder: Path, config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same .env serves Grafana and the database."""
    (bare_folder / ".env").write_text("GF_SECURITY_ADMIN_USER=admin\nPOSTGRESQL_OWNER_PASSWORD=x\nKAFKA_LOG_DIRS=/d\n")
    monkeypatch.setenv("CONSUMER__MAX_BATCH", "0")

    assert load(config("")) == Settings()


@pytest.mark.parametrize("content", [b"HEARTBEAT_LOGGING__LEVEL=\xfc\n", b"\xff\xfeP\0"], ids=["Latin-1", "UTF-16"])
def test_env_file_that_is_not_utf_8_is_a_mistake(bare_folder: Path, config: Write, content: bytes) -> None:
    """Some editors save so; it gives one line, not a traceback."""
    (bare_folder / ".env").write_bytes(content)
    path = config("")

    with pytest.raises(ConfigError, match=r"\.env"):
        load(path)


def test_empty_env_file_and_value_with_spaces(bare_folder: Path, config: Write) -> None:
    """Quotes and comments mean what they mean to compose."""
    (bare_folder / ".env").write_text('HEARTBEAT_KAFKA__TOPIC="beats"  # ours\nexport HEARTBEAT_LOGGING__LEVEL=error\n')

    settings = load(config(""))

    assert (settings.kafka.topic, settings.logging.level) == ("beats", "error")
