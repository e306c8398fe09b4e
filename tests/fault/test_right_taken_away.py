"""A consumer that works loses the right to read: it says so, is unhealthy, and goes on by itself."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from local.kafka import KafkaServer
from local.ports import HOST, find_free_port
from local.waiting import wait_until
from tests.conftest import StartService
from tests.pipeline import Database, Topic, encode, heartbeats

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(240)]

LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret";'
ALICE: Final = {
    "security.protocol": "sasl_plaintext",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "alice",
    "sasl.password": "secret",
}


def right(kind: ResourceType, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    """Return the rule that grants a right on everything of a kind, or its denial."""
    return AclBinding(kind, "*", ResourcePatternType.LITERAL, "User:alice", "*", operation, permission)


def health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ResourceType.TOPIC, "cannot read topic heartbeats, partition 0, at offset 100 at"),
        (ResourceType.GROUP, "cannot read topic heartbeats at"),
    ],
)
def test_right_that_is_taken_away_is_named_and_makes_the_consumer_unhealthy(
    kind: ResourceType, words: str, start: StartService, database: Database, tmp_path: Path
) -> None:
    """The client says it once, and the lag that it knows of stays at 0; /healthz said ok for ever."""
    plain, sasl, controller, port = (find_free_port() for _ in range(4))
    listeners = f"PLAINTEXT://{HOST}:{plain},SASL://{HOST}:{sasl}"
    settings = {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT",
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": LOGIN,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with KafkaServer(tmp_path / "kafka", plain, settings=settings) as server:
        topic = Topic(server, "heartbeats")
        topic.create(partitions=1)
        admin = topic.admin
        allowed = [
            right(one, operation, AclPermissionType.ALLOW)
            for one in (ResourceType.TOPIC, ResourceType.GROUP)
            for operation in (AclOperation.READ, AclOperation.DESCRIBE)
        ]
        denied = right(
            kind, AclOperation.ALL if kind is ResourceType.GROUP else AclOperation.READ, AclPermissionType.DENY
        )
        for done in admin.create_acls(allowed).values():
            done.result()
        rows = heartbeats(200)
        topic.send([(None, encode(row)) for row in rows[:100]])
        consumer = start(
            "consumer",
            HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS=f"{HOST}:{sasl}",
            HEARTBEAT_KAFKA__TOPIC=topic.name,
            HEARTBEAT_KAFKA__LIBRDKAFKA=json.dumps(ALICE),
            HEARTBEAT_CONSUMER__METRICS_PORT=str(port),
        )
        wait_until(lambda: database.count() == 100, 60)
        admin.create_acls([denied])[denied].result()
        wait_until(lambda: consumer.text().count(words) > 1, 60, "it is named again and again")
        topic.send([(None, encode(row)) for row in rows[100:]])
        wait_until(lambda: health(port) == 503, 60, "nobody takes it for well")
        assert consumer.process.poll() is None
        same = (denied.restype, "*", denied.resource_pattern_type, "User:alice", "*", denied.operation)
        taken_back = AclBindingFilter(*same, AclPermissionType.DENY)
        admin.delete_acls([taken_back])[taken_back].result()
        wait_until(lambda: database.count() == 200 and health(port) == 200, 60, "it goes on by itself")

        assert database.lost_and_surplus(rows) == ([], [])
        assert "authorization failed" in consumer.text()
        assert consumer.stop() == 0
