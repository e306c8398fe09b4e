"""Options that pass through to librdkafka, Kafka's Java client and libpq: which of them may be set, and where."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from common.errors import ConfigError

OPTIONS: Final = {"librdkafka", "libpq", "kafka_options"}  # the settings that hold some

# What the guarantees rest on is not for options to change.
_PRODUCER: Final = {"bootstrap.servers", "enable.idempotence", "acks", "transactional.id"}
_CONSUMER: Final = {
    "bootstrap.servers", "group.id", "group.protocol", "group.instance.id", "enable.auto.commit",
    "enable.auto.offset.store", "auto.offset.reset", "isolation.level", "enable.partition.eof", "check.crcs",
}  # fmt: skip
FIXED_OPTIONS: Final = {
    "kafka": _PRODUCER | _CONSUMER,
    "producer": _PRODUCER,
    "consumer": _CONSUMER,
    "spark": {"bootstrap.servers", "group.id", "enable.auto.commit", "auto.offset.reset", "isolation.level"},
    "postgresql": {"host", "port", "user", "password", "dbname", "application_name", "options", "client_encoding"},
}
# Options of librdkafka, Kafka's Java client and libpq whose value is a secret.
_SECRET: Final = re.compile(
    r"passw|passphrase|secret|jaas|private|credential|key\.pem$|keystore\.key$|scram_\w+_key$|oauthbearer\.config$",
    re.IGNORECASE,
)


def refuse_fixed(given: Mapping[str, tuple[str, Mapping[str, object]]]) -> None:
    """
    Refuse options that have a setting of their own, or that exactly-once rests on.

    Args:
        given: For each owner in `FIXED_OPTIONS`, the settings' name for its options, and the options.
    Raises:
        ConfigError: One of them is set.
    """
    for owner, (setting, options) in given.items():
        if taken := sorted(FIXED_OPTIONS[owner] & options.keys()):
            raise ConfigError(
                f"{setting}: {', '.join(taken)} cannot be set here",
                hint="It has a setting of its own, or exactly-once rests on its value; remove it.",
            )


def refuse_secrets(path: Path, content: dict[str, Any]) -> None:
    """
    Refuse a secret in a settings file, which is committed and copied into the images.

    Args:
        path: The file, for the error.
        content: What it holds, checked.
    Raises:
        ConfigError: An option's name says that its value is a secret.
    """
    for section, keys in content.items():
        for key in OPTIONS & keys.keys():
            for option, value in keys[key].items():
                if value != "" and _SECRET.search(option):
                    variable = f"HEARTBEAT_{section}__{key}".upper()
                    raise ConfigError(
                        f"{section}.{key}: {option} is a secret and cannot be set in {path}, which is committed and"
                        " copied into the images",
                        hint=f'Set it in the environment, as {variable}=\'{{"{option}": "..."}}\', or in a file of such'
                        f" JSON that {variable}_FILE names.",
                    )
