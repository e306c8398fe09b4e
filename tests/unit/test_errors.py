"""What an error means: a person's mistake ends the service, whatever else is waited out, and both say what to do."""

from collections.abc import Callable
from typing import Final

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from psycopg import errors as pg
from pydantic import SecretStr

from common import errors
from common.errors import ConfigError, HeartbeatError, LedgerError, OutageError, RefusedError, one_line
from common.kafka_client import client_log, client_options
from common.kafka_client import explain as explain_kafka
from common.settings import Credentials, Kafka, PostgreSQL
from store.errors import StaleOwnerError
from store.postgres_errors import explain

SECRET: Final = "correct horse battery staple"
CREDENTIALS: Final = Credentials(username="admin", password=SecretStr(SECRET), database="heartbeat_db")
NOWHERE: Final = PostgreSQL(host="127.0.0.1", port=1)
# As libpq and psycopg put a refused connection, which carries no SQLSTATE.
AT: Final = 'connection failed: connection to server at "127.0.0.1", port 1 failed: '
# 08 connection, 40 repeat it, 53 resources (a full disk), 57 shutdown, 58 system, 25006 read-only, 55P03 lock timeout;
# and what is nobody's plan: 22 and 23 outside of a batch, 42 and XX defects, an index that is damaged.
OUTAGES: Final = (
    "08000", "08006", "40001", "40P01", "53100", "53200", "53300", "53400", "57014", "57P01", "57P02", "57P03", "58000",
    "58030", "55P03", "25006", "25P03", "22P02", "23505", "42601", "42804", "XX000", "XX001", "XX002", "P0001",
)  # fmt: skip


def explained(error: psycopg.Error) -> HeartbeatError:
    """Have an error explained, and see that what a person gets has the agreed form and no secret."""
    found = explain(error, "store a batch", NOWHERE, CREDENTIALS)
    assert_readable(found)
    return found


def assert_readable(error: HeartbeatError) -> None:
    """One line, lower case, no full stop; a sentence of advice; no password."""
    assert "\n" not in error.message
    assert error.message[0].islower()
    assert not error.message.endswith(".")
    assert error.hint[0].isupper()
    assert "\n" not in error.hint
    assert SECRET not in f"{error}{error!r}{error.args}"


def connect(**parameters: str) -> psycopg.Error:
    """Try to connect for real where no server is, and give psycopg's error."""
    address = "host=127.0.0.1 port=1 dbname=heartbeat_db user=admin connect_timeout=5"
    with pytest.raises(psycopg.Error) as raised:
        psycopg.connect(psycopg.conninfo.make_conninfo(address, password=SECRET, **parameters))
    return raised.value


@pytest.mark.parametrize("sqlstate", OUTAGES)
def test_database_error_is_waited_out(sqlstate: str) -> None:
    """Nothing is lost by waiting, and everything by throwing a batch away: what is not known is an outage."""
    error = pg.lookup(sqlstate)("it did not work\nDETAIL:  a paragraph\nCONTEXT:  another one")

    found = explained(error)

    assert type(found) is OutageError
    assert sqlstate in found.message
    assert "cannot store a batch in PostgreSQL at 127.0.0.1:1, database heartbeat_db: it did not work" in found.message


@pytest.mark.parametrize("kind", [pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedFunction, pg.InvalidSchemaName])
def test_missing_schema_is_waited_for_and_named(kind: type[psycopg.Error]) -> None:
    """At a first start the schema may come a moment later; if it does not, a person reads which file to apply."""
    found = explained(kind('relation "heartbeats" does not exist'))

    assert type(found) is OutageError
    assert "db/schema.sql" in found.hint


def test_missing_right_names_the_role() -> None:
    """A right can be given while the consumer waits; whose it is, stands in the line."""
    found = explained(pg.InsufficientPrivilege("permission denied for table heartbeats"))

    assert type(found) is OutageError
    assert "as admin: permission denied for table heartbeats" in found.message


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ('FATAL:  password authentication failed for user "admin"', "POSTGRESQL_PASSWORD"),
        ("fe_sendauth: no password supplied", "POSTGRESQL_PASSWORD"),
        ('FATAL:  role "admin" does not exist', "POSTGRESQL_USERNAME"),
        ('FATAL:  database "heartbeat_db" does not exist', "POSTGRESQL_DATABASE"),
        ("FATAL:  no such database: heartbeat_db", "pooler"),
        ('FATAL:  "trust" authentication failed', "POSTGRESQL_USERNAME"),
        ("FATAL:  SASL authentication failed", "POSTGRESQL_PASSWORD"),
        ("could not match 2 port numbers to 3 hosts", "postgresql.port"),
        (
            'FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "admin", database "heartbeat_db", no encryption',
            "pg_hba.conf",
        ),
    ],
)
def test_refused_connection_is_a_mistake_with_the_hint_that_fits(words: str, hint: str) -> None:
    """Waiting does not mend a password: one line, exit code 2, and the name of the setting."""
    found = explained(psycopg.OperationalError(AT + words))

    assert type(found) is ConfigError
    assert found.exit_code == 2
    assert found.message.endswith(words.removeprefix("FATAL:  "))
    assert hint in found.hint


@pytest.mark.parametrize(
    "words",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  the database system is in recovery mode",
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'FATAL:  too many connections for role "admin"',
        'FATAL:  too many connections for database "heartbeat_db"',
        "server closed the connection unexpectedly",
        "Connection timed out",
        "FATAL:  das Datenbanksystem startet",
    ],
)
def test_server_that_cannot_take_us_now_is_waited_for(words: str) -> None:
    """A restart, a failover and a full house heal by themselves."""
    found = explained(psycopg.OperationalError(AT + words))

    assert type(found) is OutageError
    assert found.message.endswith(words.removeprefix("FATAL:  "))


def test_server_that_is_not_there_is_an_outage_that_says_so() -> None:
    """The commonest of all errors names its cause: refused, not a riddle."""
    found = explained(connect())

    assert type(found) is OutageError
    assert "127.0.0.1:1" in found.message
    assert "refused" in found.message


@pytest.mark.parametrize(
    "parameters",
    [{"ssl_mode": "require"}, {"sslmode": "verfy-full"}, {"connect_timeout": "soon"}, {"tcp_user_timeout": "10s"}],
    ids=str,
)
def test_impossible_connection_parameter_is_a_mistake(parameters: dict[str, str]) -> None:
    """A misspelt parameter never heals: it must not be retried for ever with the advice to look after the server."""
    found = explained(connect(**parameters))

    assert type(found) is ConfigError
    assert "postgresql.libpq" in found.hint


def test_error_without_words_is_explained_as_well() -> None:
    """The explanation of an error must not end in another one."""
    assert type(explained(psycopg.OperationalError())) is OutageError
    assert type(explained(psycopg.InterfaceError())) is OutageError
    assert type(explained(psycopg.OperationalError("the connection is closed"))) is OutageError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("\n  spaced  \nout"), "spaced"),
        (ValueError(), "ValueError"),
        (OSError(2, "No such file"), "[Errno 2] No such file"),
    ],
)
def test_paragraphs_become_one_line(error: BaseException, line: str) -> None:
    """A log line holds one line, and never none."""
    assert one_line(error).strip() == line


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ConfigError, 2),
        (RefusedError, 2),
        (LedgerError, 3),
        (OutageError, 1),
        (StaleOwnerError, 1),
        (errors.TopicReplacedError, 1),
    ],
)
def test_each_kind_of_ending_has_its_exit_code(kind: Callable[..., HeartbeatError], code: int) -> None:
    """The exit code tells an operator's mistake (do not restart) from an outage (restart)."""
    error = kind("cannot do it: 1", hint="Do it.")

    assert error.exit_code == code
    assert str(error) == "cannot do it: 1\nHINT: Do it."


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._TRANSPORT, OutageError),  # noqa: SLF001 - the library's public names for its own codes begin so
        (KafkaError._ALL_BROKERS_DOWN, OutageError),  # noqa: SLF001
        (KafkaError._TIMED_OUT, OutageError),  # noqa: SLF001
        (KafkaError._RESOLVE, OutageError),  # noqa: SLF001
        (KafkaError.LEADER_NOT_AVAILABLE, OutageError),
        (KafkaError.NOT_ENOUGH_REPLICAS, OutageError),
        (KafkaError.UNKNOWN, OutageError),
        (KafkaError._AUTHENTICATION, RefusedError),  # noqa: SLF001
        (KafkaError._SSL, RefusedError),  # noqa: SLF001
        (KafkaError.SASL_AUTHENTICATION_FAILED, RefusedError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, RefusedError),
        (KafkaError._INVALID_ARG, ConfigError),  # noqa: SLF001
        (KafkaError.INVALID_PARTITIONS, ConfigError),
    ],
)
def test_kafka_error_is_a_mistake_or_waited_out(code: int, kind: type[HeartbeatError]) -> None:
    """A broker that is away comes back; one that refuses us does not change its mind."""
    error = KafkaError(code, "a reason\nin lines")
    kafka = Kafka(bootstrap_servers="127.0.0.1:1")

    for form in (error, KafkaException(error)):
        found = explain_kafka(form, kafka, "read topic heartbeats")
        assert_readable(found)
        assert type(found) is kind
        assert found.message.startswith("cannot read topic heartbeats")
        assert found.message.endswith("a reason in lines")


@pytest.mark.parametrize(
    "options", [{"sasl.pasword": SECRET}, {"security.protocol": "sasl"}, {"fetch.wait.max.ms": -1}], ids=str
)
def test_option_that_librdkafka_does_not_take_is_a_mistake(options: dict[str, str | int | float | bool]) -> None:
    """A misspelt option is refused by its name before the first connection, and its value is not repeated."""
    kafka = Kafka(bootstrap_servers="127.0.0.1:1", librdkafka={"sasl.password": SECRET})

    with pytest.raises(KafkaException) as raised:
        Consumer(client_options(kafka, {"group.id": "g"}, options), logger=client_log())
    found = explain_kafka(raised.value, kafka, "set up a Kafka consumer")

    assert_readable(found)
    assert type(found) is ConfigError
    assert next(iter(options)) in found.message
