"""What a person gets wrong is answered in one line with a hint; what heals by waiting is waited for."""

import json
import socket
from pathlib import Path
from typing import Final

import pytest

from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

SECRET: Final = "hunter2-correct-horse"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def said(service: Service) -> list[str]:
    """Every complaint with its hint; none may be a traceback, none may hold the password."""
    assert "Traceback" not in service.text()
    return [event.get("error", "") for event in service.events() if "hint" in event]


def test_wrong_password_ends_the_consumer_with_a_hint(start: StartService, topic: Topic) -> None:
    consumer = start("consumer", POSTGRESQL_PASSWORD="hunter2")
    topic.create()

    assert consumer.wait() == 2
    assert "password authentication failed" in said(consumer)[-1]
    assert "hunter2" not in consumer.text()


def test_missing_credentials_are_named(start: StartService) -> None:
    consumer = start("consumer", POSTGRESQL_USERNAME="")

    assert consumer.wait() == 2
    assert "POSTGRESQL_USERNAME" in said(consumer)[-1]


def test_unknown_database_ends_the_consumer_with_a_hint(start: StartService, topic: Topic) -> None:
    topic.create()
    consumer = start("consumer", POSTGRESQL_DATABASE="nowhere")

    assert consumer.wait() == 2
    assert 'database "nowhere" does not exist' in said(consumer)[-1]


def test_missing_tables_are_waited_for(start: StartService, topic: Topic, database: Database) -> None:
    """The schema may be applied a moment after the consumer's start."""
    topic.create()
    topic.send_heartbeats(10)
    database.query("ALTER TABLE kafka_topics RENAME TO hidden")
    consumer = start("consumer")
    wait_until(lambda: any("kafka_topics" in line for line in said(consumer)))
    database.query("ALTER TABLE hidden RENAME TO kafka_topics")
    wait_until(lambda: database.count() == 10)

    assert any(consumer.events("recovered"))
    assert consumer.stop() == 0


@pytest.mark.parametrize("service", ["producer", "consumer"])
def test_absent_broker_is_waited_for_and_sigterm_still_ends_it(service: str, start: StartService) -> None:
    process = start(service, HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    wait_until(lambda: any("cannot look up topic" in line for line in said(process)))

    assert process.process.poll() is None
    assert process.stop(grace_s=15) == 0


def test_absent_database_is_waited_for(start: StartService, topic: Topic) -> None:
    topic.create()
    consumer = start("consumer", HEARTBEAT_POSTGRESQL__PORT=str(free_port()))
    wait_until(lambda: any("cannot read the ledger" in line for line in said(consumer)))

    assert consumer.process.poll() is None
    assert consumer.stop(grace_s=15) == 0


@pytest.mark.parametrize("service", ["producer", "consumer"])
def test_taken_metrics_port_is_named_with_its_setting(service: str, start: StartService) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        process = start(service, **{f"HEARTBEAT_{service.upper()}__METRICS_PORT": port})

        assert process.wait() == 2
    assert port in said(process)[-1]


@pytest.mark.parametrize("service", ["producer", "consumer"])
def test_settings_file_that_cannot_be_read_is_named(service: str, start: StartService, tmp_path: Path) -> None:
    process = start(service, "--config", str(tmp_path / "nowhere.yml"))

    assert process.wait() == 2
    assert "nowhere.yml" in said(process)[-1]


def test_misspelt_setting_is_refused(start: StartService) -> None:
    process = start("consumer", HEARTBEAT_CONSUMER__MAX_BACTH="5")

    assert process.wait() == 2
    assert "HEARTBEAT_CONSUMER__MAX_BACTH" in said(process)[-1]


def test_unknown_kafka_option_is_named(start: StartService) -> None:
    process = start("producer", HEARTBEAT_KAFKA__LIBRDKAFKA='{"no.such.option": "1"}')

    assert process.wait() == 2
    assert "no.such.option" in said(process)[-1]


def test_service_link_of_kubernetes_does_not_stop_a_service(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Kubernetes sets it in each container beside a Service called `heartbeat-producer`."""
    topic.create()
    topic.send_heartbeats(3)
    consumer = start(
        "consumer", HEARTBEAT_PRODUCER_PORT="tcp://10.0.0.1:9101", HEARTBEAT_CONSUMER_PORT_9102_TCP_ADDR="10.0.0.2"
    )
    wait_until(lambda: database.count() == 3)

    assert consumer.stop() == 0


@pytest.mark.parametrize("arguments", [("producer",), ("consumer",), ("consumer", "verify")])
@pytest.mark.parametrize(
    "option", ["security.protocol", "ssl.ca.location", "ssl.key.pem", "socket.timeout.ms", "sasl.pasword"]
)
def test_password_at_the_wrong_kafka_option_is_not_repeated(
    start: StartService, arguments: tuple[str, ...], option: str
) -> None:
    """Librdkafka repeats a value that it does not take."""
    options = json.dumps({"security.protocol": "ssl", option: SECRET})
    process = start(*arguments, HEARTBEAT_KAFKA__LIBRDKAFKA=options, HEARTBEAT_LOGGING__LEVEL="debug")
    wait_until(lambda: bool(said(process)))
    process.end()

    assert SECRET not in process.text()


@pytest.mark.parametrize("arguments", [("consumer",), ("consumer", "verify"), ("consumer", "replay")])
@pytest.mark.parametrize("option", ["sslmode", "keepalives", "passwort", "service"])
def test_password_at_the_wrong_libpq_option_is_not_repeated(
    start: StartService, topic: Topic, arguments: tuple[str, ...], option: str
) -> None:
    """So does libpq."""
    topic.create()
    process = start(*arguments, HEARTBEAT_POSTGRESQL__LIBPQ=json.dumps({option: SECRET}))
    wait_until(lambda: any("PostgreSQL at" in line for line in said(process)))
    process.end()

    assert SECRET not in process.text()


@pytest.mark.parametrize("arguments", [("consumer",), ("consumer", "verify"), ("consumer", "replay")])
def test_url_as_host_is_refused_without_its_password(start: StartService, arguments: tuple[str, ...]) -> None:
    """Somebody copies what a provider shows. tests/unit/test_secrets_hidden.py has the other wrong places."""
    process = start(*arguments, HEARTBEAT_POSTGRESQL__HOST=f"postgresql://admin:{SECRET}@db.example/heartbeat_db")

    assert process.wait() == 2
    assert "postgresql.host" in said(process)[-1]
    assert SECRET not in process.text()


def test_development_password_at_a_server_of_others_is_warned_of(start: StartService) -> None:
    """It is in the repository; the consumer goes on, since a test system may be meant."""
    process = start("consumer", HEARTBEAT_POSTGRESQL__HOST="192.0.2.1", POSTGRESQL_PASSWORD="consumer")
    wait_until(lambda: any(process.events("service started")))
    wait_until(lambda: any(process.events("development password in use")))
