"""`python -m spark`, or by `spark-submit`: store heartbeats by Spark Structured Streaming until stopped."""

import argparse
import sys
from pathlib import Path

import structlog
from pyspark.sql import SparkSession

from common import runtime, telemetry
from common.settings import load, load_credentials
from common.topic import ensure_topic
from consumer.maintenance import Maintenance
from spark.engine import Engine
from spark.session import open_session

SERVICE = "spark"


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal comes; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m spark", description="Stores Kafka's heartbeats in PostgreSQL.")
    parser.add_argument("--config", type=Path, default=Path("config.yml"), help="settings file (default: %(default)s)")
    given = parser.parse_args(arguments)
    return runtime.run(SERVICE, lambda: store(given.config))


def store(config: Path) -> int:
    """Store heartbeats until a signal comes."""
    settings = load(config)
    credentials = load_credentials()
    runtime.configure_logging(settings.logging, service=SERVICE)
    stop = runtime.StopFlag()
    stop.listen()
    health = telemetry.Health()
    telemetry.serve(
        settings.consumer.metrics_host, settings.consumer.metrics_port, health, setting="consumer.metrics_port"
    )
    log = structlog.get_logger()
    log.info(
        "spark started",
        topic=settings.kafka.topic,
        kafka=settings.kafka.bootstrap_servers,
        postgresql=f"{settings.postgresql.host}:{settings.postgresql.port}/{credentials.database}",
    )
    ensure_topic(settings.kafka, stop)
    if stop.is_set():
        return 0

    def start_spark() -> SparkSession:
        session = open_session(settings)
        stop.listen()  # Spark has taken Ctrl-C for itself
        log.info("spark ready", version=session.version, ui=session.sparkContext.uiWebUrl)
        return session

    engine = Engine(settings, credentials, start_spark, health)
    maintenance = Maintenance(settings, credentials)
    maintenance.start()
    try:
        engine.run(stop)
    finally:
        maintenance.stop()
    log.info("spark stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
