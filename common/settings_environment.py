"""
Reads the environment and `.env`. No other module does.

docker compose reads `.env`, too. A value that it would read differently is an error, whose hint says how to write it.
"""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from dotenv.parser import Binding, parse_stream

from common.errors import ConfigError
from common.settings_file import unreadable

ENV_FILE: Final = Path(".env")  # in the current folder, as for docker compose
Environment = dict[str, str | None]

# Names in .env that this project reads, here or in docker-compose.yml. It ignores others.
_OURS: Final = re.compile(r"(COMPOSE|GRAFANA|HEARTBEAT|KAFKA|POSTGRESQL|SPARK)_")
# A value that may be secret can come from a file: the variable with _FILE at its end holds the path.
_BY_FILE: Final = re.compile(
    r"(POSTGRESQL_(?:USERNAME|PASSWORD|DATABASE)|HEARTBEAT_[A-Z]+__(?:LIBRDKAFKA|LIBPQ|KAFKA_OPTIONS))_FILE"
)
# Kubernetes sets such variables in each container, for each Service of the namespace.
_LINK: Final = re.compile(
    r"[A-Z0-9_]+?_(?:(?P<address>SERVICE_HOST|PORT_\d+_(?:TCP|UDP|SCTP)_ADDR)"
    r"|(?P<number>SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)_PORT)"
    r"|(?P<protocol>PORT_\d+_(?:TCP|UDP|SCTP)_PROTO)"
    r"|(?P<url>PORT(?:_\d+_(?:TCP|UDP|SCTP))?))"
)
_LINK_URL: Final = re.compile(r"(?:tcp|udp|sctp)://(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<v4>[0-9.]+)):\d{1,5}")


def read_environment(prefix: str = "") -> Environment:
    """
    Return the variables of the environment, then of `.env`, without Kubernetes' service links.

    Args:
        prefix: The start of the wanted names: only their `_FILE` variables are read.
    Raises:
        ConfigError: `.env` or a named file cannot be read, or a value has two sources.
    """
    layers: list[Environment] = [_read_env_file(), dict(os.environ)]
    found: Environment = {}
    for layer in layers:
        found |= _follow_files(layer, prefix) if prefix else layer
    return {name: value for name, value in found.items() if not _is_service_link(name, value or "")}


def is_in_kubernetes() -> bool:
    """Return whether this process runs in a container of Kubernetes."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _follow_files(layer: Environment, prefix: str) -> Environment:
    found = dict(layer)
    for name, path in layer.items():
        match = _BY_FILE.fullmatch(name)
        if not match or not name.startswith(prefix):
            continue
        del found[name]
        if not path:
            continue
        if found.get(match[1]):
            raise ConfigError(f"cannot use both {match[1]} and {name}: each has a value", hint="Remove one of the two.")
        try:
            found[match[1]] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(
                f"cannot read the file that {name} names: {why}",  # not its path: that may be the secret itself
                hint="Set it to the path of a file that this user may read, and that holds only the value.",
            ) from None
    return found


def _read_env_file() -> Environment:
    try:
        with ENV_FILE.open(encoding="utf-8") as lines:
            bindings = [*parse_stream(lines)]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(ENV_FILE, error, hint="Save it as UTF-8 text that this user may read, or remove it.") from None
    for binding in bindings:
        text = binding.original.string
        line = binding.original.line + len(text) - len(text.lstrip("\r\n"))
        if binding.error:
            raise ConfigError(
                f"cannot read {ENV_FILE}: line {line} is not NAME=value",
                hint="Put a value with special characters in single quotes: NAME='value'.",
            )
        if binding.key and _OURS.match(binding.key) and _is_ambiguous(binding):
            raise ConfigError(
                f"cannot use {ENV_FILE}: docker compose reads {binding.key} in line {line} as another value",
                hint="Put the value in single quotes, where '$' is an ordinary character; write a single quote as \\'.",
            )
    return {binding.key: binding.value for binding in bindings if binding.key}


def _is_ambiguous(binding: Binding) -> bool:
    """Return whether compose would read a variable, a backslash or a comment in the value differently."""
    written, value = binding.original.string.partition("=")[2].strip(), binding.value or ""
    if written.startswith("'"):
        return r"\\" in written
    if written.startswith('"'):
        return "$" in value or "\\" in written
    return "$" in value or re.search(r"^#|[^\S ]#", written) is not None


def _is_service_link(name: str, value: str) -> bool:
    """Return whether name and value have the exact form of a service link. A misspelt setting does not."""
    match = _LINK.fullmatch(name)
    if not match:
        return False
    if match["number"]:
        return value.isdecimal()
    if match["protocol"]:
        return value in {"tcp", "udp", "sctp"}
    if match["url"]:
        url = _LINK_URL.fullmatch(value)
        return url is not None and _is_address(url["v6"] or url["v4"])
    return _is_address(value)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
