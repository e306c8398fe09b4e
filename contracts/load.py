"""Loads the contract that the settings name."""

from importlib import import_module

from common.errors import ConfigError
from common.settings import Event
from contracts.contract import Contract


def contract_of(event: Event) -> Contract:
    """
    Return the contract that `event.contract` names, such as `contracts.heartbeats:HEARTBEATS`.

    Raises:
        ConfigError: The module or the contract does not exist, or the contract contradicts itself.
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
        hint="Write MODULE:NAME, as in config.yml. The module must be below the folder where the service starts.",
    ) from missing
