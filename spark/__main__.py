"""`python -m spark`, or by `spark-submit`: store heartbeats by Spark Structured Streaming until stopped."""

import sys
from pathlib import Path

import structlog
from pyspark.sql import SparkSession

from common import runtime
from common.command_line import service_parser
from spark.engine import Engine
from spark.session import open_session
from store.service import storing

SERVICE = "spark"


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal comes; return the exit code."""
    parser = service_parser("python -m spark", "Stores heartbeats from Kafka in PostgreSQL, each exactly once.")
    given = parser.parse_args(arguments)
    return runtime.run(SERVICE, lambda: store(given.config))


def store(config: Path) -> int:
    """Store heartbeats until a signal comes."""
    with storing(SERVICE, config) as service:

        def start_spark() -> SparkSession:
            session = open_session(service.settings)
            service.stop.listen()  # Spark has installed its own handler for Ctrl-C
            structlog.get_logger().info("spark ready", version=session.version, ui=session.sparkContext.uiWebUrl)
            return session

        Engine(service, start_spark).run(service.stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
