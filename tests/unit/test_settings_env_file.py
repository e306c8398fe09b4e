"""`.env` means to the services what it means to docker compose, or it is refused; secrets may come from files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import Settings, load, load_credentials
from tests.dotenv_values import ALIKE, UNLIKE

Write = Callable[[str], Path]


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch, bare_folder: Path) -> Path:
    """Set the credentials besides the password, and stand in the empty folder."""
    monkeypatch.setenv("POSTGRESQL_USERNAME", "admin")
    monkeypatch.setenv("POSTGRESQL_DATABASE", "heartbeat_db")
    return bare_folder


def password() -> str:
    return load_credentials().password.get_secret_value()


@pytest.mark.parametrize(("written", "meant"), ALIKE.items())
def test_password_in_env_file_is_read_as_it_is_meant(others: Path, written: str, meant: str) -> None:
    """The same table is held against docker compose in tests/e2e/test_env_file.py."""
    (others / ".env").write_text(f"A=1\nPOSTGRESQL_PASSWORD={written}\nB=2\n", encoding="utf-8")

    assert password() == meant


@pytest.mark.parametrize("written", UNLIKE)
def test_password_that_compose_reads_otherwise_is_refused_by_line_and_name(others: Path, written: str) -> None:
    """Two services with two passwords from one line would be a riddle; its value is not repeated."""
    (others / ".env").write_text(f"# first\n\nPOSTGRESQL_PASSWORD={written}\n", encoding="utf-8")

    with pytest.raises(ConfigError) as raised:
        load_credentials()

    assert "line 3" in raised.value.message
    assert "word" not in str(raised.value)
    assert "single quotes" in raised.value.hint


def test_variables_of_others_may_be_written_as_they_like(others: Path, config: Write) -> None:
    """The project does not read them."""
    (others / ".env").write_text("PATH_OF_MINE=$HOME/bin\nPOSTGRESQL_PASSWORD='pa$word'\n")

    assert load(config("")) == Settings()
    assert password() == "pa$word"


def test_password_comes_from_a_file(others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `secrets:` of compose and Kubernetes give it; editors end a file with a line break."""
    (others / "password").write_text("pa$word \n")
    monkeypatch.setenv("POSTGRESQL_PASSWORD_FILE", str(others / "password"))
    monkeypatch.setenv("POSTGRESQL_PASSWORD", "")  # what compose gives for a variable that is not set

    assert password() == "pa$word "


def test_file_in_the_environment_goes_over_a_password_in_env_file(
    others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tracked .env always has a password; and a password in the environment goes over a file in .env."""
    (others / "password").write_text("from the file")
    (others / ".env").write_text("POSTGRESQL_PASSWORD=admin\n")
    monkeypatch.setenv("POSTGRESQL_PASSWORD_FILE", "password")

    assert password() == "from the file"

    monkeypatch.delenv("POSTGRESQL_PASSWORD_FILE")
    (others / ".env").write_text("POSTGRESQL_PASSWORD_FILE=password\n")
    monkeypatch.setenv("POSTGRESQL_PASSWORD", "from the environment")

    assert password() == "from the environment"


def test_two_sources_in_one_place_are_refused(others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the two counts would be a guess."""
    monkeypatch.setenv("POSTGRESQL_PASSWORD", "hunter2")
    monkeypatch.setenv("POSTGRESQL_PASSWORD_FILE", str(others / "password"))

    with pytest.raises(ConfigError, match="both POSTGRESQL_PASSWORD and POSTGRESQL_PASSWORD_FILE") as raised:
        load_credentials()
    assert "hunter2" not in str(raised.value)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("path", ["hunter2", ".", "a\x01b", "x" * 300])
def test_file_that_cannot_be_read_is_named_by_its_variable_only(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Somebody may have set it to the password itself."""
    monkeypatch.setenv("POSTGRESQL_PASSWORD_FILE", path)

    with pytest.raises(ConfigError, match="cannot read the file that POSTGRESQL_PASSWORD_FILE names") as raised:
        load_credentials()
    assert path == "." or path not in str(raised.value)


def test_empty_file_is_a_missing_password(others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (others / "password").write_text("\n")
    monkeypatch.setenv("POSTGRESQL_PASSWORD_FILE", "password")

    with pytest.raises(ConfigError, match="POSTGRESQL_PASSWORD must be set"):
        load_credentials()


@pytest.mark.parametrize(
    "name",
    ["HEARTBEAT_KAFKA__LIBRDKAFKA", "HEARTBEAT_POSTGRESQL__LIBPQ", "HEARTBEAT_SPARK__KAFKA_OPTIONS"],
)
def test_options_come_from_a_file(config: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A broker's password, too, has to be kept out of the environment where people want it so."""
    path = config("")
    (path.parent / "options.json").write_text('{"some.option": "x"}\n')
    monkeypatch.setenv(f"{name}_FILE", "options.json")
    section, key = name.removeprefix("HEARTBEAT_").lower().split("__")

    assert load(path).model_dump()[section][key] == {"some.option": "x"}


@pytest.mark.parametrize("name", ["HEARTBEAT_CONSUMER__MAX_BATCH_FILE", "HEARTBEAT_KAFAK__LIBRDKAFKA_FILE"])
def test_file_for_something_else_is_refused(config: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A name that is silently ignored is worse than an error."""
    path = config("")
    monkeypatch.setenv(name, str(path))

    with pytest.raises(ConfigError, match="unknown setting"):
        load(path)


LINKS = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "9101",
    "SERVICE_PORT_METRICS": "9101",
    "PORT": "tcp://10.0.0.1:9101",
    "PORT_9101_TCP": "tcp://[fd00::1]:9101",
    "PORT_9101_TCP_PROTO": "tcp",
    "PORT_9101_TCP_PORT": "9101",
    "PORT_9102_TCP_ADDR": "fd00::1",
    "PORT_53_UDP": "udp://10.0.0.1:53",
}


def test_service_links_of_kubernetes_are_left_alone(
    others: Path, config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes sets them in each container beside a Service of that name, without being asked."""
    (others / ".env").write_text("POSTGRESQL_PASSWORD=admin\n")
    for service in ("HEARTBEAT", "HEARTBEAT_PRODUCER", "HEARTBEAT_CONSUMER", "HEARTBEAT_KAFKA_UI", "POSTGRESQL"):
        for ending, value in LINKS.items():
            monkeypatch.setenv(f"{service}_{ending}", value)

    assert load(config("")) == Settings()
    assert password() == "admin"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT_POSTGRESQL_PORT", "5432"),
        ("HEARTBEAT_CONSUMER_METRICS_PORT", "9102"),
        ("HEARTBEAT_PRODUCER_PORT", "tcp://10.0.0.1"),
        ("HEARTBEAT_PRODUCER_PORT", "http://10.0.0.1:9101"),
        ("HEARTBEAT_POSTGRESQL_HOST", "10.0.0.1"),
        ("HEARTBEAT_PRODUCER_SERVICE_HOST", "broker"),
        ("HEARTBEAT_PRODUCER_SERVICE_PORT", "tcp"),
        ("HEARTBEAT_PRODUCER_PORT_9101_TCP_PROTO", "http"),
        ("HEARTBEAT_PRODUCER_PORT_9101_TCP_ADDR", "1.2.3"),
        ("HEARTBEAT_PRODUCER_PORT_9101_ICMP", "tcp://10.0.0.1:9101"),
    ],
)
def test_misspelt_setting_that_resembles_a_service_link_is_refused(
    config: Write, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Only the exact forms are links."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=f"{name}: unknown setting"):
        load(config(""))
