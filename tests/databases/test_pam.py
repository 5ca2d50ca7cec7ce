"""The module `pam` against PAM itself, with its services in a directory of the test (libpam-wrapper).

pam_wrapper stands in for libpam under its own name: our library asks for that one by dlopen(3), where LD_PRELOAD does
not reach. It passes on to the real one. Its pam_matrix has the users: name, password, the service that he may use.
"""

import os
import subprocess
from pathlib import Path

import pytest

from popular.pdm.contract import ModuleFailed, Question, Secret
from popular.pdm.libpdm_pam import open_module
from tests.patience import patient
from tests.system.site import program

WRAPPER = "libpam_wrapper.so"
USERS = "joe:gr&n 'quoted' %u:pop3\nj\u00f6rg:p\u00e4ss:pop3\nmax:secret:imap\n"
SERVICE = "auth required {matrix} passdb={users}\naccount required {matrix} passdb={users}\n"


def _library() -> Path:
    """Where Debian has it. Without it the test is skipped, or fails in CI."""
    found = sorted(Path("/usr/lib").glob(f"*/{WRAPPER}"))
    if not found:
        assert "CI" not in os.environ, "libpam-wrapper must be installed where CI is set"
        pytest.skip("libpam-wrapper is not installed")
    return found[0]


class Pam:
    """The services `pop3`, with the users, `broken`, whose users are nowhere, and `other`, as everywhere."""

    def __init__(self, directory: Path) -> None:
        pytest.importorskip("pam")
        library = _library()
        self._directory = directory
        (directory / "services").mkdir()
        (directory / "library").mkdir()
        (directory / "library" / "libpam.so.0").symlink_to(library)
        (directory / "users").write_text(USERS)
        matrix = library.parent / "pam_wrapper" / "pam_matrix.so"
        for name, users in (("pop3", "users"), ("broken", "none")):
            words = {"matrix": matrix, "users": directory / users}
            (directory / "services" / name).write_text(SERVICE.format(**words))
        (directory / "services" / "other").write_text("auth required pam_deny.so\naccount required pam_deny.so\n")

    def ptestpdm(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """With PAM as it is here."""
        environment = {"LD_LIBRARY_PATH": str(self._directory / "library"), "PAM_WRAPPER": "1"}
        environment["PAM_WRAPPER_SERVICE_DIR"] = str(self._directory / "services")
        return subprocess.run(
            [program("ptestpdm"), *words],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=patient(30),
            check=False,
        )

    def tried(self, service: str, *logins: str) -> list[str]:
        """What becomes of each login, `USER PASSWORD`."""
        (self._directory / "modules").write_text(f"p pam service {service} backend store1\n")
        (self._directory / "logins").write_text("".join(f"192.0.2.1 POP3 default {login}\n" for login in logins))
        done = self.ptestpdm(str(self._directory / "modules"), str(self._directory / "logins"))
        assert done.stderr == ""
        return [line.partition(": ")[2] for line in done.stdout.splitlines()]


@pytest.fixture
def pam(tmp_path: Path) -> Pam:
    return Pam(tmp_path)


def test_who_may_come_in_is_pams_to_say(pam: Pam) -> None:
    """Letter by letter; also whether his account may use this service, which is asked after the password."""
    admitted, *others = pam.tried(
        "pop3",
        "joe gr&n 'quoted' %u",
        "joe gr&n 'quoted' %",
        "joe GR&N 'quoted' %u",
        "JOE gr&n 'quoted' %u",
        "nobody gr&n 'quoted' %u",
        "max secret",
        "max wrong",
        "joe:gr&n x",
        "../pop3 x",
        f"{'x' * 5000} x",
        f"joe {'x' * 5000}",
    )
    assert admitted.startswith("admitted backend=store1 target=own"), admitted
    assert [told for told in others if not told.startswith("refused identified_by=p")] == []
    assert others[0] == "refused identified_by=p", "a wrong password; there is no more to say"
    assert others[4] == "refused identified_by=p: Permission denied", "max may use another service"
    (admitted,) = pam.tried("pop3", "j\u00f6rg p\u00e4ss")
    assert admitted.startswith("admitted"), admitted


def test_a_service_that_is_broken_is_no_wrong_password(pam: Pam) -> None:
    """It is *cannot tell*, with PAM's word for why."""
    (told,) = pam.tried("broken", "joe gr&n 'quoted' %u")
    assert told == "cannot tell: p: PAM: code 9: Authentication service cannot retrieve authentication info"


def test_a_service_that_is_not_there_is_an_error(pam: Pam, tmp_path: Path) -> None:
    """PAM would ask `other`, which calls each password wrong. Its files have names in small letters."""
    (tmp_path / "logins").write_text("192.0.2.1 POP3 default joe x\n")
    for service, code in (("missing", 1), ("POP3", 0)):
        (tmp_path / "modules").write_text(f"p pam service {service} backend store1\n")
        done = pam.ptestpdm(str(tmp_path / "modules"), str(tmp_path / "logins"))
        assert (done.returncode != 0) is bool(code), done.stderr
        assert ("there is no file /etc/pam.d/missing, and PAM would ask its service 'other'" in done.stderr) is bool(
            code
        )


def test_a_service_that_goes_away_is_no_wrong_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for in front of each question."""
    pytest.importorskip("pam")
    monkeypatch.setenv("PAM_WRAPPER_SERVICE_DIR", str(tmp_path))
    (tmp_path / "pop3").write_text("auth required pam_deny.so\n")
    module = open_module("p", ["backend", "store1"])
    (tmp_path / "pop3").unlink()
    with pytest.raises(ModuleFailed, match=r"there is no file /etc/pam\.d/pop3"):
        module.check(Question("192.0.2.1", "POP3", "default", "joe", Secret(b"x"), "v"))


def test_it_keeps_the_contract(pam: Pam, tmp_path: Path) -> None:
    """As every module does, with hostile names and many at once."""
    (tmp_path / "secret").write_text("gr&n 'quoted' %u\n")
    (tmp_path / "secret").chmod(0o600)
    words = ["--user", "joe", "--passwordfile", str(tmp_path / "secret"), "--conformance", "pam", "backend", "store1"]
    done = pam.ptestpdm(*words)
    assert done.returncode == 0, done.stdout + done.stderr
