"""The passwords of the committed `.env`, which are safe only for servers that no other machine reaches."""

from ipaddress import ip_address
from typing import Final

from common.settings_environment import is_in_kubernetes

DEVELOPMENT_PASSWORDS: Final = {"admin", "consumer", "reader"}
COMPOSE_NAME: Final = "postgresql"  # the host name in docker-compose.yml's network


def is_exposed(hosts: str, password: str) -> bool:
    """
    Return whether other machines may reach a server that has a development password.

    Args:
        hosts: As in `postgresql.host`: names, addresses or a socket's folder, with commas.
        password: The password of the connection.
    """
    return password in DEVELOPMENT_PASSWORDS and not all(_is_own(host.strip()) for host in hosts.split(","))


def _is_own(host: str) -> bool:
    if host == COMPOSE_NAME:
        return not is_in_kubernetes()  # there it is a Service, which the whole cluster may reach
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.startswith("/") or host == "localhost"
