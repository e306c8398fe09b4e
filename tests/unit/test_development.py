"""The committed passwords are for this machine's servers."""

import pytest
from dotenv import dotenv_values

from common.development import DEVELOPMENT_PASSWORDS, is_exposed
from local.service import ROOT


def test_known_passwords_are_those_of_the_env_file() -> None:
    """A password added there is a public one as well."""
    found = {value for name, value in dotenv_values(ROOT / ".env").items() if name.endswith("PASSWORD")}

    assert found == DEVELOPMENT_PASSWORDS


@pytest.mark.parametrize("host", ["db.example", "10.0.0.5", "::2", "localhost,db.example", "postgresql.svc", "0.0.0.0"])  # noqa: S104 - only a name
def test_server_that_others_reach_must_not_have_one(host: str) -> None:
    assert is_exposed(host, "admin")
    assert not is_exposed(host, "of my own")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "/run/postgresql", "postgresql"])
def test_own_server_may(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Inside compose, `postgresql` is a name in a network of its own."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    assert not is_exposed(host, "consumer")


def test_same_name_in_kubernetes_is_open_to_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")

    assert is_exposed("postgresql", "consumer")
