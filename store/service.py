"""Starts and stops a service that stores heartbeats, for both engines."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from common import runtime
from common.development import is_exposed
from common.errors import HeartbeatError
from common.settings import Credentials, Settings, load, load_credentials
from common.telemetry import Health
from common.topic import ensure_topic
from contracts.load import contract_of
from store.events import Events
from store.lag import Lag
from store.maintenance import Maintenance


@dataclass(frozen=True, slots=True)
class Storing:
    """What the engine needs."""

    settings: Settings
    credentials: Credentials
    stop: runtime.StopFlag
    health: Health
    lag: Lag
    events: Events


@contextmanager
def storing(service: str, config: Path) -> Iterator[Storing]:
    """
    Set up log, signals and metrics, wait for the topic, and run maintenance until the engine ends.

    Raises:
        ConfigError: The settings or the metrics port are wrong, or Kafka or PostgreSQL rejects us.
    """
    settings, credentials = load(config), load_credentials()
    contract_of(settings.event)  # a mistake in it is told before the first connection
    stop, health = runtime.begin(service, settings.logging, settings.consumer, "consumer")
    say = structlog.get_logger().info
    say(
        "service started",
        topic=settings.kafka.topic,
        kafka=settings.kafka.bootstrap_servers,
        postgresql=f"{settings.postgresql.host}:{settings.postgresql.port}/{credentials.database}",
    )
    if is_exposed(settings.postgresql.host, credentials.password.get_secret_value()):
        structlog.get_logger().warning(
            "development password in use",
            host=settings.postgresql.host,
            hint="It is in the committed .env, where all can read it. Set another one (docs/production.md, Secrets).",
        )
    events = Events(service)
    events.add("started")
    ensure_topic(settings.kafka, stop)
    lag = Lag()
    maintenance = Maintenance(settings, credentials, lag, events)
    maintenance.start()
    end: str | None = "by an unexpected error"
    try:
        yield Storing(settings, credentials, stop, health, lag, events)
        end = None
    except HeartbeatError as error:
        end = error.message
        raise
    finally:
        events.add("stopped", end)
        maintenance.stop()
    unwritten = len(events.waiting)
    say("service stopped", **({"unwritten_events": unwritten} if unwritten else {}))
