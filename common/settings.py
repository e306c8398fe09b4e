"""
Settings: `config.yml`, `.env` over it, the environment over both (`HEARTBEAT_<SECTION>__<KEY>`, `POSTGRESQL_*`).

All are checked before the first connection. An unknown name is an error: otherwise a misspelt limit would silently stay
at its default. Just over 250 lines: each setting is one.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from common.errors import ConfigError
from common.event import MAX_FUTURE
from common.secrets import LONG, keep_secret
from common.settings_environment import Environment, read_environment
from common.settings_file import read_sections
from common.settings_options import OPTIONS, refuse_fixed, refuse_secrets
from common.settings_text import Brokers, ContractName, Group, Hosts, Login, OwnAddress, Ports, TopicName

PREFIX: Final = "HEARTBEAT_"

Options = dict[str, str | int | float | bool]
MetricsPort = Annotated[int, Field(ge=0, le=65535)]  # 0: no metrics server
FEWEST_REJECTED_BYTES: Final = 64 * 1024**2  # as in bound_rejected() of db/quarantine.sql


def _none_or_enough(size_bytes: int) -> int:
    if 0 < size_bytes < FEWEST_REJECTED_BYTES:
        raise PydanticCustomError("too_few_bytes", "must be 0 or at least {fewest}", {"fewest": FEWEST_REJECTED_BYTES})
    return size_bytes


class Section(BaseModel):
    """A section of the settings: read-only, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(Section):
    """The broker and the topic; `librdkafka` passes options through (TLS, SASL, timeouts) to both services."""

    bootstrap_servers: Brokers = "kafka:9092"
    topic: TopicName = "heartbeats"
    partitions: Annotated[int, Field(ge=1, le=65536)] = 6  # a row's id has 16 bits for the partition
    replication_factor: Annotated[int, Field(ge=1, le=32767)] = 1
    retention_hours: Annotated[int, Field(ge=-1)] = 168  # -1: for ever
    retention_bytes: Annotated[int, Field(ge=-1)] = 2 * 1024**3  # per partition; -1: unbounded
    max_message_bytes: Annotated[int, Field(ge=16 * 1024, le=50 * 1024**2)] = 256 * 1024  # of a batch, compressed
    group_id: Group = "heartbeat-consumer"
    group_protocol: Literal["consumer", "classic"] = "consumer"
    librdkafka: Options = Field(default_factory=dict, repr=False)


class PostgreSQL(Section):
    """The database's address; `libpq` passes connection parameters through (sslmode, sslrootcert, ...)."""

    host: Hosts = "postgresql"
    port: Ports = 5432
    libpq: Options = Field(default_factory=dict, repr=False)


class Event(Section):
    """What the consumer stores; the rest of the settings is the same for every event."""

    contract: ContractName = "contracts.heartbeats:HEARTBEATS"


class Producer(Section):
    """The generator and its Kafka client."""

    customers: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    interval_s: Annotated[float, Field(ge=0, le=86400)] = 1.0  # 0: as fast as possible
    seed: Annotated[int, Field(ge=0)] | None = None  # None: other heart rates at each start
    # Of each kind, in the whole fleet. Many more would move the distribution; 0: none
    episodes_per_hour: Annotated[float, Field(ge=0, le=600)] = 6.0
    flush_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 20.0
    metrics_host: OwnAddress = "127.0.0.1"
    metrics_port: MetricsPort = 9101
    librdkafka: Options = Field(default_factory=dict, repr=False)


class Consumer(Section):
    """The loop from Kafka to PostgreSQL."""

    max_batch: Annotated[int, Field(ge=1, le=100_000)] = 10_000  # messages in one transaction
    max_wait_s: Annotated[float, Field(ge=0.001, le=10)] = 0.05  # for a batch to fill
    max_future_s: Annotated[float, Field(ge=0, le=10 * 365 * 86400)] = MAX_FUTURE.total_seconds()
    max_payload_bytes: Annotated[int, Field(ge=0, le=512 * 1024**2)] = 1024**2  # kept of a quarantined payload
    synchronous_commit: bool = True
    skip_expired: bool = False  # continue after messages that Kafka dropped before they were read
    connections: Annotated[int, Field(ge=1, le=16)] = 2  # batches written at a time
    retention_days: Annotated[int, Field(ge=0, le=36500)] = 7  # of events; 0: for ever
    rejected_retention_days: Annotated[int, Field(ge=0, le=36500)] = 30  # of the quarantine; 0: for ever
    rejected_max_bytes: Annotated[int, Field(ge=0, le=2**60), AfterValidator(_none_or_enough)] = 10 * 1024**3  # 0: any
    rollup_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90  # and of alarms and events; 0: for ever
    alarm_silent_s: Annotated[float, Field(ge=0, le=3600)] = 15.0  # without a heartbeat; 0: no such alarms
    alarm_outside_s: Annotated[float, Field(ge=0, le=86400)] = 60.0  # outside one's usual range; 0: no such alarms
    alarm_outside_bpm: Annotated[float, Field(ge=1, le=300)] = 20.0  # away from one's usual rate, at least
    alarm_stuck_s: Annotated[float, Field(ge=0, le=86400)] = 600.0  # of one value; 0: no such alarms
    metrics_host: OwnAddress = "127.0.0.1"
    metrics_port: MetricsPort = 9102
    librdkafka: Options = Field(default_factory=dict, repr=False)


class Spark(Section):
    """Settings of the Spark engine; for all others it uses the consumer's."""

    max_batch: Annotated[int, Field(ge=1, le=100_000_000)] = 600_000  # messages in one micro-batch, all partitions
    trigger_s: Annotated[float, Field(ge=0, le=60)] = 1.0  # from the start of a micro-batch to that of the next
    kafka_options: Options = Field(default_factory=dict, repr=False)  # of Kafka's Java client, by its own names


class Logging(Section):
    """Format and level of the log."""

    format: Literal["auto", "console", "json"] = "auto"  # auto: readable on a terminal, JSON otherwise
    level: Literal["debug", "info", "warning", "error"] = "info"


class _Environment(EnvSettingsSource):
    """The environment over `.env`: one source, so that both have the same names and checks."""

    def _load_env_vars(self) -> dict[str, str | None]:
        return {name.lower(): value for name, value in read_environment(self.env_prefix).items()}


class _FromEnvironment(BaseSettings):
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it refuses what other services keep in .env
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return _Environment(settings_cls), init_settings


class Settings(_FromEnvironment):
    """All settings of both services, checked."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    kafka: Kafka = Kafka()
    postgresql: PostgreSQL = PostgreSQL()
    event: Event = Event()
    producer: Producer = Producer()
    consumer: Consumer = Consumer()
    spark: Spark = Spark()
    logging: Logging = Logging()


class Credentials(_FromEnvironment):
    """The login at PostgreSQL: only from the environment and `.env`, never from a committed file."""

    model_config = SettingsConfigDict(env_prefix="POSTGRESQL_", extra="forbid", frozen=True)

    username: Login
    password: Annotated[SecretStr, Field(min_length=1)]
    database: Login


def load(path: Path) -> Settings:
    """
    Read and check all settings.

    Args:
        path: The YAML file; `.env` and the environment override it.
    Raises:
        ConfigError: A file cannot be read, a name is unknown or a value is wrong. It lists all wrong values.
    """
    _refuse_unknown_names(read_environment(PREFIX))
    content = read_sections(path, list(Settings.model_fields))
    try:
        settings = Settings(**content)
    except (ValidationError, SettingsError) as error:
        raise _config_error(error, f"Correct {path}, or the {PREFIX}<SECTION>__<KEY> variable that sets it.") from None
    given = _options(settings)
    refuse_fixed(given)
    refuse_secrets(path, content)
    keep_secret(value for _, options in given.values() for value in options.values())
    return settings


def load_credentials() -> Credentials:
    """
    Read the login at PostgreSQL.

    Raises:
        ConfigError: One of the three is missing or empty, or is a whole address.
    """
    try:
        found = Credentials()
    except ValidationError as error:
        for part in error.errors():
            if part["type"] == "login":
                raise ConfigError(
                    f"POSTGRESQL_{part['loc'][0]}: ".upper() + part["msg"],
                    hint="The address has settings of its own: HEARTBEAT_POSTGRESQL__HOST, __PORT and __LIBPQ.",
                ) from None
        names = ", ".join(f"POSTGRESQL_{part['loc'][0]}".upper() for part in error.errors())
        raise ConfigError(
            f"no credentials for PostgreSQL: {names} must be set",
            hint="Set them in the environment, or in .env in the folder where the service starts;"
            " POSTGRESQL_PASSWORD_FILE names a file that holds the password.",
        ) from None
    password = found.password.get_secret_value()
    if len(password) >= LONG and password not in {found.username, found.database}:  # otherwise logs need the word
        keep_secret([password])
    return found


def _config_error(error: ValidationError | SettingsError, hint: str) -> ConfigError:
    if isinstance(error, SettingsError):  # a variable that should hold JSON does not
        return ConfigError(f"cannot use the environment: {error}", hint=hint)
    lines = []
    for part in error.errors():
        key = ".".join(str(step) for step in part["loc"])
        key = key if re.fullmatch(r"[\w.-]+", key) else "a key"
        says = "unknown key" if part["type"] == "extra_forbidden" else part["msg"].replace("Input should be", "must be")
        # A wrong value may be a password: only numbers of a known key are repeated.
        hidden = OPTIONS & {*part["loc"]} or part["type"] == "extra_forbidden" or not _is_number(part["input"])
        shown = "" if hidden else f" (got {part['input']!r})"
        lines.append(f"{key}: {says[0].lower()}{says[1:]}{shown}")
    return ConfigError("; ".join(lines), hint=hint)


def _is_number(value: object) -> bool:
    """Return whether a value is a number, the text of one, or empty."""
    return value is None or isinstance(value, int | float) or re.fullmatch(r"[\d.,eE+-]*", str(value)) is not None


def _refuse_unknown_names(environment: Environment) -> None:
    sections = {name: type(field.default) for name, field in Settings.model_fields.items()}
    known = {f"{PREFIX}{section}".upper() for section in sections}
    for section, model in sections.items():
        known |= {f"{PREFIX}{section}__{key}".upper() for key in model.model_fields}
    for name in sorted(environment):
        plain = name.upper()
        parts = plain.split("__")[:2]
        in_options = parts[-1].lower() in OPTIONS and "__".join(parts) in known
        if plain.startswith(PREFIX) and plain not in known and not in_options:
            near = difflib.get_close_matches(plain, known, n=1)
            raise ConfigError(
                f"{name}: unknown setting",
                hint=f"Did you mean {near[0]}?" if near else "Names are HEARTBEAT_<SECTION>__<KEY>, as in config.yml.",
            )


def _options(settings: Settings) -> dict[str, tuple[str, Options]]:
    return {
        "kafka": ("kafka.librdkafka", settings.kafka.librdkafka),
        "producer": ("producer.librdkafka", settings.producer.librdkafka),
        "consumer": ("consumer.librdkafka", settings.consumer.librdkafka),
        "spark": ("spark.kafka_options", settings.spark.kafka_options),
        "postgresql": ("postgresql.libpq", settings.postgresql.libpq),
    }
