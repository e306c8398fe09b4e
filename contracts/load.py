"""Finds the contract that the settings name."""

from importlib import import_module

from common.errors import ConfigError
from common.settings import Event
from contracts.contract import Contract


def contract_of(event: Event) -> Contract:
    """
    Return the contract that `event.contract` names, such as `contracts.heartbeats:HEARTBEATS`.

    Raises:
        ConfigError: There is no such module or no such contract in it, or the contract contradicts itself.
    """
    module, _, name = event.contract.partition(":")
    missing: ImportError | None = None
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        found, missing = None, error
    if isinstance(found, Contract):
        return found
    raise ConfigError(
        f"event.contract: there is no contract {name} in {module}",
        hint="Name a module below the folder the service is started in, and a Contract in it, as config.yml does.",
    ) from missing
