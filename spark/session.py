"""Spark itself: its session, and the stream of Kafka's records."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from common.errors import ConfigError, one_line
from common.settings import Settings

# Master, memory and jars are Spark's own settings: spark-submit's, spark-defaults.conf's or PYSPARK_SUBMIT_ARGS'.
CONF: Final[Mapping[str, str]] = {
    "spark.app.name": "heartbeats",
    "spark.ui.showConsoleProgress": "false",
    "spark.ui.killEnabled": "false",  # the web page has no password: it must not stop jobs
    # With a micro-batch each second for weeks, the web page's history takes memory.
    "spark.ui.retainedJobs": "100",
    "spark.ui.retainedStages": "100",
    "spark.ui.retainedTasks": "1000",
    "spark.sql.ui.retainedExecutions": "20",
    "spark.sql.streaming.ui.retainedProgressUpdates": "20",
    "spark.sql.streaming.numRecentProgressUpdates": "5",
    # Spark demands a checkpoint, but nothing reads it: the ledger has the positions.
    "spark.sql.streaming.forceDeleteTempCheckpointLocation": "true",
    "spark.sql.streaming.minBatchesToRetain": "2",
    "spark.sql.streaming.stopTimeout": "10s",
}

# Spark asks for the log's end after each poll, which discards records that were fetched but not polled yet. So a poll
# must return all of a fetch. With the default (500 records), most records would be fetched many times.
CLIENT: Final[Mapping[str, str]] = {
    "kafka.max.poll.records": "100000",
    "kafka.receive.buffer.bytes": "-1",  # the system's value, not 64 KB
}


def open_session(settings: Settings) -> SparkSession:
    """
    Start Spark, or use the session that `spark-submit` has started.

    Raises:
        ConfigError: There is no suitable Java.
    """
    # One Arrow batch is one transaction.
    conf = {**CONF, "spark.sql.execution.arrow.maxRecordsPerBatch": str(settings.consumer.max_batch)}
    try:
        return SparkSession.builder.config(map=dict[str, Any](conf)).getOrCreate()
    except PySparkException as error:
        raise ConfigError(
            f"cannot start Spark: {one_line(error)}",
            hint="It needs Java 17 or 21: set JAVA_HOME, or start it with python -m local.spark, which has its own.",
        ) from error


def read_kafka(session: SparkSession, settings: Settings, positions: Mapping[int, int]) -> DataFrame:
    """
    Return a stream of the topic's records.

    Args:
        session: Spark.
        settings: Kafka's address, topic and options.
        positions: The first offset for each of the topic's partitions.
    Raises:
        ConfigError: Spark has no Kafka connector.
    """
    kafka, spark = settings.kafka, settings.spark
    options: dict[str, str] = {
        **CLIENT,
        **{f"kafka.{name}": str(value) for name, value in spark.kafka_options.items()},
        "kafka.bootstrap.servers": kafka.bootstrap_servers,
        "kafka.isolation.level": "read_committed",
        "subscribe": kafka.topic,
        "startingOffsets": json.dumps({kafka.topic: {str(partition): at for partition, at in positions.items()}}),
        "failOnDataLoss": "true",  # a hole in the log stops the query and is never skipped
        "maxOffsetsPerTrigger": str(spark.max_batch),
        # minPartitions stays unset: a partition's records must all come to one task, in order.
    }
    try:
        return session.readStream.format("kafka").options(**options).load()
    except PySparkException as error:
        raise ConfigError(
            f"cannot read Kafka by Spark: {one_line(error)}",
            hint="Spark needs its Kafka connector: start it with python -m local.spark, or see docs/engines.md.",
        ) from error
