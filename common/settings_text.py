"""
Types of settings that are text: addresses and names.

Logs show addresses and names. So a URL or a connection string is an error: it may hold a password.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Final

from pydantic import AfterValidator, Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

_NAME: Final = r"[\w.-]+"  # of a host, or an IPv4 address
_BROKER: Final = re.compile(rf"(?:[A-Za-z_]+://)?(?:{_NAME}|\[[0-9A-Fa-f:.]+\])(?::\d{{1,5}})?")
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # as Kafka allows it
_CONTRACT: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_CONNECTION: Final = re.compile(r"://|:.*@|passw\w*\s*=", re.IGNORECASE)


def _is_host(text: str) -> bool:
    if re.fullmatch(_NAME, text):
        return True
    try:
        ip_address(text)  # of version 6, with or without a zone
    except ValueError:
        return False
    return True


def _hosts(text: str) -> str:
    is_socket = text.startswith("/") and not _CONNECTION.search(text)
    if not is_socket and not all(_is_host(part.strip()) for part in text.split(",")):
        raise PydanticCustomError("host", "must be a host name or an address, without user, password and port")
    return text


def _ports(value: object, one: ValidatorFunctionWrapHandler) -> object:
    if not isinstance(value, str) or "," not in value:
        return one(value)
    for part in value.split(","):
        one(part)
    return value


def _own_address(text: str) -> str:
    return _hosts(text) if text else text  # empty: every address


def _brokers(text: str) -> str:
    parts = [part.strip() for part in text.split(",")]
    if not all(_BROKER.fullmatch(part) for part in parts if part):
        raise PydanticCustomError("brokers", "must be host:port, or several with commas, without user and password")
    return text


def _group(text: str) -> str:
    if _CONNECTION.search(text):
        raise PydanticCustomError("group", "must be a name, not an address")
    return text


def _login(text: str) -> str:
    if _CONNECTION.search(text) or ":" in text or "=" in text:
        raise PydanticCustomError("login", "must be a name, not an address or a connection string")
    return text


def _topic(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise PydanticCustomError("topic", "must have 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'")
    return text


def _contract(text: str) -> str:
    if not _CONTRACT.fullmatch(text):
        raise PydanticCustomError("contract", "must be MODULE:NAME, such as contracts.heartbeats:HEARTBEATS")
    return text


Hosts = Annotated[str, Field(min_length=1), AfterValidator(_hosts)]
# One for all hosts or, as a text that libpq takes, one for each.
Ports = Annotated[int, Field(ge=1, le=65535), WrapValidator(_ports), PlainSerializer(lambda ports: ports)]
OwnAddress = Annotated[str, AfterValidator(_own_address)]
Brokers = Annotated[str, Field(min_length=1), AfterValidator(_brokers)]
Group = Annotated[str, Field(min_length=1), AfterValidator(_group)]
TopicName = Annotated[str, AfterValidator(_topic)]
ContractName = Annotated[str, AfterValidator(_contract)]
Login = Annotated[str, Field(min_length=1), AfterValidator(_login)]  # PostgreSQL's user or database
