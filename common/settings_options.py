"""Checks options for librdkafka, Kafka's Java client and libpq: which may be set, and where."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from common.errors import ConfigError

OPTIONS: Final = {"librdkafka", "libpq", "kafka_options"}  # the settings that hold options

# Options that the guarantees depend on cannot be set.
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
    Raise if an option has a setting of its own, or if exactly-once depends on it.

    Args:
        given: For each owner in `FIXED_OPTIONS`, the setting with its options, and the options.
    Raises:
        ConfigError: One of them is set.
    """
    for owner, (setting, options) in given.items():
        if taken := sorted(FIXED_OPTIONS[owner] & options.keys()):
            raise ConfigError(
                f"{setting}: {', '.join(taken)} cannot be set here",
                hint="Remove it: it has a setting of its own, or exactly-once depends on its value.",
            )


def refuse_secrets(path: Path, content: dict[str, Any]) -> None:
    """
    Raise if a settings file holds a secret: the file is committed and copied into images.

    Args:
        path: The file, for the error.
        content: Its content, checked.
    Raises:
        ConfigError: The value of an option with such a name is a secret.
    """
    for section, keys in content.items():
        for key in OPTIONS & keys.keys():
            for option, value in keys[key].items():
                if value != "" and _SECRET.search(option):
                    variable = f"HEARTBEAT_{section}__{key}".upper()
                    raise ConfigError(
                        f"{section}.{key}: {option} is a secret and cannot be set in {path}, which is committed and"
                        " copied into the images",
                        hint=f'Set it in the environment, as {variable}=\'{{"{option}": "..."}}\', or in a file with'
                        f" such JSON that {variable}_FILE names.",
                    )
