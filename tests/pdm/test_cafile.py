"""Files that modules read when they are opened: one that is changed is seen, one that is no good is refused then."""

from pathlib import Path

import pytest

from popular.pdm.contract import ModuleFailed
from popular.pdm.loader import OWN_DIRECTORY, load
from tests.system.certificates import Authority

QUERY = ["query", "SELECT 1 WHERE :user", "backend", "b"]
ASKED_IN_TLS = {
    "http": ["https://h/", "backend", "b"],
    "oauth2": ["jwks", "https://h/keys", "issuer", "https://h", "audience", "mail", "backend", "b"],
    "ldap": ["ldaps://h", "base", "dc=x", "backend", "b"],
    "redis": ["rediss://h", "backend", "b"],
    "sql": ["mysql://u@h/mail", *QUERY, "tls", "on"],
}


@pytest.mark.parametrize(("name", "words"), ASKED_IN_TLS.items(), ids=ASKED_IN_TLS)
def test_a_file_of_authorities(tmp_path: Path, name: str, words: list[str]) -> None:
    """It is told to whoever watches files; without certificates, or without a file, nothing is opened."""
    Authority().write(tmp_path)
    path = tmp_path / "ca.pem"
    module = load(OWN_DIRECTORY, name, "m", arguments=[*words, "cafile", str(path)])
    assert [(name, status.st_ino) for name, status in module.files.items()] == [(str(path), path.stat().st_ino)]
    path.write_text("no certificate")
    with pytest.raises(ModuleFailed, match="has no certificates that can be read"):
        load(OWN_DIRECTORY, name, "m", arguments=[*words, "cafile", str(path)])
    path.unlink()
    with pytest.raises(ModuleFailed, match="No such file"):
        module.reload()


@pytest.mark.parametrize("url", ["postgresql://u@h/mail", "mysql://u@h/mail"])
def test_a_secret_that_a_database_cannot_be_told_is_refused(tmp_path: Path, url: str) -> None:
    """Its libraries want text."""
    (tmp_path / "secret").write_bytes(b"g\xfcheim\n")
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(ModuleFailed, match="is not UTF-8"):
        load(OWN_DIRECTORY, "sql", "m", arguments=[url, "passwordfile", str(tmp_path / "secret"), *QUERY])
