"""The demo from start to end: servers, services, the picture, and the check that nothing was lost."""

import contextlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from common.errors import ConfigError, HeartbeatError
from common.settings import Credentials, Settings, load, load_credentials
from common.settings_environment import read_environment
from demo.database import prepare
from demo.figures import Gauge
from demo.finish import DATA, finish
from demo.lab import Lab, Parts
from demo.progress import progress
from demo.watch import Pipeline, watch
from local import postgres_programs
from local.data_folder import locked
from local.kafka import KafkaServer
from local.ports import HOST, find_free_port
from local.postgres import PostgresServer
from local.service import ROOT, Service

FOLDERS: Final = tuple(DATA / name for name in ("postgres", "kafka", "services"))  # each locked by those who use it
IN_USE_S: Final = 2.0  # before a second demo is refused
PRODUCER: Final = ("-m", "producer")
# The programs that store Kafka's heartbeats in PostgreSQL, by name.
ENGINES: Final[Mapping[str, Sequence[str]]] = {"consumer": ("-m", "consumer"), "spark": ("-m", "local.spark")}
HURRIED_STOP_S: Final = 3.0  # after an error: a service may wait for a broker or a database that has ended

# The usual ports, those of compose; any free one where they are taken.
PORTS: Final = {"KAFKA_PORT": 9094, "POSTGRESQL_PORT": 5434}
METRICS_PORTS: Final = {"HEARTBEAT_PRODUCER__METRICS_PORT": 9101, "HEARTBEAT_CONSUMER__METRICS_PORT": 9102}

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run() -> int:
    """Run the demo and return its exit code; Ctrl-C, SIGTERM and SIGHUP end it cleanly at any moment."""
    for number in ENDINGS:
        signal.signal(number, signal.default_int_handler)  # KeyboardInterrupt
    try:
        os.chdir(ROOT)
        seconds, engine = read_seconds(os.environ), read_engine(os.environ)
        ports = read_ports(read_environment())
        settings, credentials = load(Path("config.yml")), load_credentials()
        with locked(DATA, patience_s=IN_USE_S), nothing_left():
            return demonstrate(settings, credentials, ports, seconds, engine)
    except KeyboardInterrupt:
        return 0
    except HeartbeatError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def read_seconds(environment: Mapping[str, str]) -> float | None:
    """
    Return how many seconds to run; None: until Ctrl-C.

    Raises:
        ConfigError: DEMO_SECONDS is no number above 0.
    """
    text = environment.get("DEMO_SECONDS", "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise ConfigError(
            f"DEMO_SECONDS: must be a number above 0 (got {text!r})", hint="For a minute: DEMO_SECONDS=60."
        )
    return seconds


def read_engine(environment: Mapping[str, str]) -> str:
    """
    Return the name of the engine that stores the heartbeats.

    Raises:
        ConfigError: ENGINE names no engine.
    """
    name = environment.get("ENGINE") or "consumer"
    if name not in ENGINES:
        raise ConfigError(
            f"ENGINE: must be one of {', '.join(ENGINES)} (got {name!r})", hint="For example: ENGINE=spark."
        )
    return name


def read_ports(environment: Mapping[str, str | None]) -> dict[str, int]:
    """
    Return the ports of Kafka and PostgreSQL, by the names that compose uses.

    Raises:
        ConfigError: One of them is no port.
    """
    ports = {}
    for name, usual in PORTS.items():
        text = environment.get(name) or str(usual)
        if not text.isdecimal() or not 0 < int(text) < 65536:  # noqa: PLR2004 - 16 bits
            raise ConfigError(f"{name}: must be a port, 1 to 65535 (got {text!r})", hint=f"Usually {name}={usual}.")
        ports[name] = int(text)
    return ports


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Wait until no process of an earlier run is left, and at the end until none of this one is."""
    wait_until_unused()
    try:
        yield
    except BaseException as error:
        # Ctrl-C may come before a process that was just started has a name here: then only the traceback still holds
        # its pipe and its lock, and it stops once these are let go.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # all has been told to stop; what is left takes a moment
        wait_until_unused()


def wait_until_unused() -> None:
    """Wait until no process uses a folder; one may just have been started when Ctrl-C came."""
    for folder in FOLDERS:
        with locked(folder):
            pass


def demonstrate(
    settings: Settings, credentials: Credentials, ports: Mapping[str, int], seconds: float | None, engine: str
) -> int:
    """Start everything, watch it, stop it and check the ledger; return the exit code."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    with contextlib.ExitStack() as stack:
        with progress(console, "starting PostgreSQL and Kafka"):
            database = stack.enter_context(PostgresServer(DATA / "postgres", preferred_port=ports["POSTGRESQL_PORT"]))
            kafka = stack.enter_context(KafkaServer(DATA / "kafka", preferred_port=ports["KAFKA_PORT"]))
            conninfo = prepare(database, credentials)
        login = f"-h localhost -p {database.port} -U {credentials.username} -d {credentials.database}"
        addresses = (
            f"Kafka       {kafka.bootstrap_servers}, topic {settings.kafka.topic}",
            f"PostgreSQL  {psql()} {login}  (password: .env)",
        )
        for line in addresses:
            console.print(line)

        gauge = stack.enter_context(Gauge(kafka.bootstrap_servers, conninfo, settings.kafka.topic))
        logs = DATA / "services"
        lock = stack.enter_context(locked(logs))
        environment = environment_of_services(kafka, database)
        producer = Service("producer", PRODUCER, environment, logs / "producer.log", keep_fds=[lock])
        stack.callback(producer.stop, HURRIED_STOP_S)
        consumer = Service(engine, ENGINES[engine], environment, logs / f"{engine}.log", keep_fds=[lock])
        stack.callback(consumer.stop, HURRIED_STOP_S)
        pipeline = Pipeline(producer, consumer, (kafka, database), gauge, addresses)
        second = partial(
            Service,
            "second consumer",
            ENGINES["consumer"],
            {**environment, **dict.fromkeys(METRICS_PORTS, "0")},
            logs / "second-consumer.log",
            keep_fds=[lock],
        )
        hurried = False
        try:
            with Lab(Parts(pipeline, kafka, database, second), console):
                watch(pipeline, console, seconds)
        except KeyboardInterrupt:
            hurried = True
            console.print("\nCtrl-C: stopping everything; once more: without checking the ledger")
        return finish(pipeline, console, environment, lock=lock, hurried=hurried)


def environment_of_services(kafka: KafkaServer, database: PostgresServer) -> dict[str, str]:
    """Return the environment that points our services at these servers; anything else stays as it was set."""
    metrics = {name: str(find_free_port(port)) for name, port in METRICS_PORTS.items()}
    return {
        **metrics,
        **os.environ,
        "HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "HEARTBEAT_POSTGRESQL__HOST": HOST,
        "HEARTBEAT_POSTGRESQL__PORT": str(database.port),
        "HEARTBEAT_LOGGING__FORMAT": "json",
    }


def psql() -> str:
    """Return how to call psql here: the user's own, or the one that came with the server."""
    return "psql" if shutil.which("psql") else os.path.relpath(postgres_programs.program("psql"))
