"""Each service and command, started with a password in each wrong place: no output repeats it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog

from common import secrets
from common.errors import ConfigError
from common.settings import Settings, load
from consumer.__main__ import main as consumer
from producer.__main__ import main as producer

SECRET: Final = "hunter2-correct-horse"
Write = Callable[[str], Path]

COMMANDS: Final[dict[str, tuple[Callable[[list[str]], int], list[str]]]] = {
    "producer": (producer, []),
    "consumer": (consumer, []),
    "verify": (consumer, ["verify", "--full"]),
    "replay": (consumer, ["replay"]),
}
ADDRESSES: Final = [
    f"postgresql://admin:{SECRET}@db.example:5432/heartbeat_db",
    f"sasl_ssl://alice:{SECRET}@kafka.example:9093",
    f"admin:{SECRET}@db.example",
    f"host=db.example password={SECRET}",
    f"db.example PASSWORD = {SECRET}",
]
VARIABLES: Final = [
    f"HEARTBEAT_{section}__{key}".upper()
    for section, field in Settings.model_fields.items()
    for key in type(field.default).model_fields
]
# What takes any word cannot tell that it is a password.
WORDS: Final = {"BOOTSTRAP_SERVERS", "TOPIC", "GROUP_ID", "HOST", "METRICS_HOST"}
FILES: Final = [
    f"kafka: {{librdkafka: {{sasl.password: {SECRET}}}}}",
    f"kafka: {{librdkafka: {{sasl.password: *{SECRET}}}}}",
    f"kafka: {{librdkafka: {{sasl.password: !{SECRET} x}}}}",
    f"kafka: {{librdkafka: {{sasl.password: &{SECRET}}}}}\n%{SECRET}",
    f"kafka: {{librdkafka: [{SECRET}]}}",
    f"kafka: {{librdkafka: {{acks: {SECRET}}}}}",
    f"kafka: {{partitions: {SECRET}, topic: {{x: {SECRET}}}}}",
    f"sasl.password: {SECRET}",
    f"postgresql: {{password: {SECRET}}}",
    f"postgresql: {{libpq: {{password: {SECRET}}}}}",
    f"postgresql: {{host: 'postgresql://admin:{SECRET}@db'}}",
    f"postgresql: {{? 'postgresql://admin:{SECRET}@db' : x}}",
    f"'postgresql://admin:{SECRET}@db': x",
    f"postgresql://admin:{SECRET}@db",
]
ARGUMENTS: Final = [["--password", SECRET], [f"--password={SECRET}"], [SECRET], [f"--c{SECRET}"]]


@pytest.fixture(params=COMMANDS)
def refuses(
    request: pytest.FixtureRequest, config: Write, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Return a function that starts one, sees that it refuses with code 2, and gives all that it wrote."""
    main, command = COMMANDS[request.param]
    path = config("")

    def start(*arguments: str) -> str:
        structlog.reset_defaults()
        try:
            code = main(["--config", str(path), *command, *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        written = "".join(capfd.readouterr())
        assert code == 2, written
        assert SECRET not in written
        assert "Traceback" not in written
        return written

    yield start
    structlog.reset_defaults()


@pytest.mark.parametrize("variable", VARIABLES)
def test_password_in_any_setting_is_not_repeated(
    refuses: Callable[..., str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A URL copied into the wrong variable, or the password itself; the error names the setting."""
    section, key = variable.removeprefix("HEARTBEAT_").split("__")
    for value in [*ADDRESSES, *([] if key in WORDS else [SECRET])]:
        monkeypatch.setenv(variable, value)
        assert f"{section}.{key}".lower() in refuses() or key in {"LIBRDKAFKA", "LIBPQ", "KAFKA_OPTIONS"}


@pytest.mark.parametrize("variable", ["POSTGRESQL_USERNAME", "POSTGRESQL_DATABASE"])
@pytest.mark.parametrize("value", [*ADDRESSES, f"admin:{SECRET}"])
@pytest.mark.parametrize("refuses", ["consumer", "verify", "replay"], indirect=True)
def test_password_in_a_user_name_or_a_database_is_not_repeated(
    refuses: Callable[..., str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Both are in the first line of the log."""
    for name in ("POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD", "POSTGRESQL_DATABASE"):
        monkeypatch.setenv(name, "heartbeat")
    monkeypatch.setenv(variable, value)

    assert variable in refuses()


@pytest.mark.parametrize("text", FILES)
def test_password_in_the_settings_file_is_refused_and_not_repeated(
    refuses: Callable[..., str], config: Write, text: str
) -> None:
    """The file is committed and copied into the images: no password belongs there, and no log shows it."""
    config(text)
    refuses()


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_password_on_the_command_line_is_not_repeated(refuses: Callable[..., str], arguments: list[str]) -> None:
    """The usage goes to stderr, which is the container's log."""
    assert "usage: " in refuses(*arguments)


PLACES: Final = ["kafka.librdkafka", "consumer.librdkafka", "postgresql.libpq", "spark.kafka_options"]


@pytest.mark.parametrize(
    "option",
    [
        "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config", "sasl.jaas.config", "ssl.truststore.password", "ssl.keystore.key", "sslpassword",
        "oauth_client_secret", "scram_client_key", "sasl.oauthbearer.assertion.private.key.passphrase",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", PLACES)
def test_secret_option_is_refused_in_the_settings_file(config: Write, place: str, option: str) -> None:
    """The hint names the variable, and the variable for a file, that may hold it."""
    section, key = place.split(".")
    path = config(f"{section}: {{{key}: {{{option}: {SECRET}}}}}")
    with pytest.raises(ConfigError, match=f"{place}: {option} is a secret") as raised:
        load(path)

    assert f"HEARTBEAT_{section}__{key}_FILE".upper() in raised.value.hint
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "option",
    [
        "sasl.username", "sasl.mechanism", "ssl.ca.pem", "ssl.key.location", "ssl.ca.location", "sslmode", "sslkey",
        "keepalives", "sasl.oauthbearer.token.endpoint.url", "enable.ssl.certificate.verification",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", PLACES)
def test_other_option_may_stand_in_the_settings_file(config: Write, place: str, option: str) -> None:
    section, key = place.split(".")

    assert load(config(f"{section}: {{{key}: {{{option}: x}}}}")).model_dump()[section][key] == {option: "x"}


def test_what_options_hold_is_hidden_in_other_words(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries repeat a wrong value; usual ones stay readable."""
    options = {"security.protocol": SECRET, "ssl.ca.location": "/certs/ca.pem", "client.rack": "rack"}
    monkeypatch.setenv("HEARTBEAT_KAFKA__LIBRDKAFKA", json.dumps(options))
    load(config(""))

    text = secrets.without_secrets(f'Invalid value "{SECRET}": /certs/ca.pem x{SECRET}x rack tracks')
    assert text == 'Invalid value "***": /certs/ca.pem x***x *** tracks'
