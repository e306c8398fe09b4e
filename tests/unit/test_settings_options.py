"""Options pass through to librdkafka and libpq, but for those the guarantees rest on; no secret is ever repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from common.errors import ConfigError
from common.settings import load, load_credentials

SECRET: Final = "correct horse battery staple"
Write = Callable[[str], Path]

GUARANTEES: Final = {
    "producer.librdkafka": (
        "bootstrap.servers", "enable.idempotence", "acks", "transactional.id",
    ),
    "consumer.librdkafka": (
        "bootstrap.servers", "group.id", "group.protocol", "group.instance.id", "enable.auto.commit",
        "enable.auto.offset.store", "auto.offset.reset", "isolation.level", "enable.partition.eof", "check.crcs",
    ),
    "postgresql.libpq": (
        "host", "port", "user", "password", "dbname", "application_name", "options", "client_encoding",
    ),
}  # fmt: skip
REFUSED: Final = [(place, option) for place, options in GUARANTEES.items() for option in options]
# What stands here reaches both services' clients.
SHARED: Final = sorted({*GUARANTEES["producer.librdkafka"], *GUARANTEES["consumer.librdkafka"]})


@pytest.mark.parametrize(
    ("place", "option"), [*REFUSED, *(("kafka.librdkafka", option) for option in SHARED)], ids=lambda word: word
)
def test_option_that_the_guarantees_rest_on_is_refused(config: Write, place: str, option: str) -> None:
    """Exactly once must not be switched off by an option that somebody copied from somewhere."""
    section, key = place.split(".")
    path = config(f"{section}: {{{key}: {{{option}: x}}}}")

    with pytest.raises(ConfigError) as raised:
        load(path)

    assert raised.value.message == f"{place}: {option} cannot be set here"


def test_other_options_pass_through_as_they_are(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS and SASL need no code, and secrets come from the environment."""
    path = config(
        "kafka: {librdkafka: {security.protocol: sasl_ssl, socket.timeout.ms: 1000, enable.metrics.push: false}}\n"
        "postgresql: {libpq: {sslmode: verify-full, keepalives: 1}}\n"
    )
    monkeypatch.setenv("HEARTBEAT_KAFKA__LIBRDKAFKA", f'{{"sasl.password": "{SECRET}"}}')

    settings = load(path)

    assert settings.kafka.librdkafka == {
        "security.protocol": "sasl_ssl",
        "socket.timeout.ms": 1000,
        "enable.metrics.push": False,
        "sasl.password": SECRET,
    }
    assert settings.postgresql.libpq == {"sslmode": "verify-full", "keepalives": 1}
    assert SECRET not in f"{settings!r} {settings} {settings.kafka!r} {settings.kafka}"


@pytest.mark.parametrize(
    "text",
    [
        f"kafka: {{librdkafka: {{sasl.password: [{SECRET}]}}}}",
        f"kafka: {{librdkafka: {{sasl.password: {{a: {SECRET}}}}}}}",
        f"kafka: {{librdkafka: sasl.password={SECRET}}}",
        f"kafka: {{librdkafka: {{acks: 0, bootstrap.servers: x, sasl.password: {SECRET}}}}}",
        f"kafka: {{librdkafca: {{sasl.password: {SECRET}}}}}",
        f"kafka: {{sasl.password: {SECRET}}}",
        f"kafka: [{{librdkafka: {{sasl.password: {SECRET}}}}}]",
        f"kafak: {{librdkafka: {{sasl.password: {SECRET}}}}}",
        f"librdkafka: {{sasl.password: {SECRET}}}",
        f"postgresql: {{password: {SECRET}}}",
        f"postgresql: {{libpq: {{sslpassword: [{SECRET}]}}}}",
        f"postgresql: [{SECRET}]",
        f"kafka: {{librdkafka: {{sasl.password: @{SECRET}}}}}",
        f"kafka:\n  librdkafka:\n    sasl.password: '{SECRET}\n",
        f"kafka:\n  librdkafka:\n    sasl.password: {SECRET}: x\n",
    ],
)
def test_mistake_beside_a_secret_does_not_repeat_it(config: Write, text: str) -> None:
    """A log is read by more people than a password is meant for."""
    path = config(text)

    with pytest.raises(ConfigError) as raised:
        load(path)

    assert SECRET not in f"{raised.value} {raised.value!r} {raised.value.args}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT_KAFKA__LIBRDKAFKA", SECRET),
        ("HEARTBEAT_KAFKA__LIBRDKAFKA", f'{{"sasl.password": ["{SECRET}"]}}'),
        ("HEARTBEAT_KAFKA__LIBRDKAFKA", f'["{SECRET}"]'),
        ("HEARTBEAT_KAFKA", f'["{SECRET}"]'),
        ("HEARTBEAT_KAFKA", f'{{"sasl.password": "{SECRET}"}}'),
        ("HEARTBEAT_KAFKA__SASL_PASSWORD", SECRET),
        ("HEARTBEAT_POSTGRESQL__PASSWORD", SECRET),
    ],
)
def test_mistaken_variable_does_not_repeat_its_secret(
    config: Write, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The same, for what comes from the environment."""
    monkeypatch.setenv(name, value)
    path = config("")

    with pytest.raises(ConfigError) as raised:
        load(path)

    assert SECRET not in f"{raised.value} {raised.value!r} {raised.value.args}"


def test_credentials_come_from_env_file_and_environment(bare_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose reads the same file; what the shell says goes over it."""
    (bare_folder / ".env").write_text(
        "# development\nPOSTGRESQL_USERNAME=admin\nPOSTGRESQL_PASSWORD='a \"b'\nPOSTGRESQL_DATABASE=heartbeat_db\n"
        "GF_SECURITY_ADMIN_PASSWORD=admin\nPOSTGRESQL_PORT=5434\n"
    )
    monkeypatch.setenv("POSTGRESQL_USERNAME", "somebody")

    found = load_credentials()

    assert (found.username, found.password.get_secret_value(), found.database) == ("somebody", 'a "b', "heartbeat_db")


def test_password_is_never_shown(bare_folder: Path) -> None:
    """Printed credentials are stars."""
    (bare_folder / ".env").write_text(
        f"POSTGRESQL_USERNAME=admin\nPOSTGRESQL_PASSWORD={SECRET}\nPOSTGRESQL_DATABASE=heartbeat_db\n"
    )

    found = load_credentials()

    assert found.password.get_secret_value() == SECRET
    assert SECRET not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"


@pytest.mark.usefixtures("bare_folder")
@pytest.mark.parametrize("name", ["POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD", "POSTGRESQL_DATABASE"])
@pytest.mark.parametrize("given", [None, ""], ids=["missing", "empty"])
def test_missing_credential_is_named(monkeypatch: pytest.MonkeyPatch, name: str, given: str | None) -> None:
    """An empty one is what compose gives for a variable that is not set."""
    for other in ("POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD", "POSTGRESQL_DATABASE"):
        monkeypatch.setenv(other, SECRET)
    monkeypatch.delenv(name)
    if given is not None:
        monkeypatch.setenv(name, given)

    with pytest.raises(ConfigError) as raised:
        load_credentials()

    assert raised.value.message == f"no credentials for PostgreSQL: {name} must be set"
    assert raised.value.exit_code == 2
    assert ".env" in raised.value.hint
    assert SECRET not in str(raised.value)
