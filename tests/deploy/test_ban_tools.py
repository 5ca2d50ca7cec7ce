"""fail2ban with the real log of an hour of guessing: it bans exactly the guilty, whatever they call themselves."""

import collections
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from popular.messages import LOGIN_FAILED
from supervisor.runtime.logline import Lines
from tests.patience import patient
from tests.system.site import (
    LOOPBACK,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    need,
    pop3_server,
    program,
    wait_until,
)

BAN = Path(__file__).parents[2] / "deploy/ban/fail2ban"
GUILTY = ("203.0.113.66", "2001:db8::66")
INNOCENT = "198.51.100.7"
FRAMED = "192.0.2.9"
"""Whose address is in the names that the guilty call themselves: he was never here."""
NAMES = [
    "ann",
    "a nn",
    "ann'",
    "ann\\",
    "ann\\'",
    '"ann"',
    f"x' client='{FRAMED}",
    f"x' vserv='v' namespace='n' user='y' why='unknown' client='{FRAMED}",
    f"x client='{FRAMED}' rip={FRAMED}, lip=1.2.3.4",
    f"rip={FRAMED}",
    f"from={FRAMED} [{FRAMED}]",
    f'x", "client": "{FRAMED}',
    f"\\n20261129 120000 vm pproxy 1 s ERR 0301 login_failed client='{FRAMED}' vserv='v' namespace='n' user='x' "
    "why='unknown'",
    f"login_failed client={FRAMED}",
    "20261129 120000 ann",
    '{"time": "2026-11-29T12:00:00.000+00:00",',
    "%s%d${jndi}<ADDR><HOST>",
    "' why='locked",
    "u\u0308mlaut",
    "x" * 200,
]
FORMS = {"text": [], "milliseconds": ["--log-stamps", "milliseconds"], "json": ["--log-format", "json"]}


def _guess(port: int, address: str, names: Sequence[str], password: str = "wrong") -> list[bytes]:
    """Logs in from an address; the last replies."""
    family = "TCP6" if ":" in address else "TCP4"
    heard = []
    for name in names:
        with PopClient(port) as client:
            client.say(f"PROXY {family} {address} {address} 40000 110\r\n".encode())
            client.line()
            client.say(f"USER {name}\r\nPASS {password}\r\n".encode())
            client.line()
            heard.append(client.line())
    return heard


@pytest.fixture(
    name="site", params=["text", *(pytest.param(form, marks=pytest.mark.nightly) for form in ("milliseconds", "json"))]
)
def _site(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """The log of guessing, and how many guesses of each of the guilty are in it."""
    users, port = tmp_path / "users", free_port()
    users.write_text("n:joe:{PLAIN}secret:b:\nn:sick:{PLAIN}secret:gone:\n")
    lines = [
        f"backend conf gone host {LOOPBACK} port {free_port()} state online",
        f"pdm add users passwd {users}",
        f"vserv conf v iface {LOOPBACK} port {port} namespace n proxyprotocol require trusted 127.0.0.0/8 state online",
    ]
    with ScriptedBackend(lambda peer: pop3_server([], b"secret")(peer)) as backend:
        lines.insert(0, f"backend conf b host {LOOPBACK} port {backend.port} state online")
        log = tmp_path / "log"
        with Proxy(tmp_path, lines, workers=1, options=["-n", "100", *FORMS[request.param]]) as proxy:
            for address in GUILTY:
                _guess(port, address, NAMES)
            assert _guess(port, INNOCENT, ["joe"], "secret")[0].startswith(b"+OK")
            assert _guess(port, INNOCENT, ["sick"], "secret")[0].startswith(b"-ERR [SYS/TEMP]")
            _guess(port, INNOCENT, ["", "joe\x01"])
            proxy.wait_until_quiet()
            proxy.said("shutdown all")
            proxy.process.wait(patient(20))
            proxy.logfile.rename(log)
            proxy.logfile.write_text("")  # which would be read as one in plain text
    return log, len(NAMES)


def _banned(log: Path, mode: str = "normal") -> dict[str, int]:
    """How often fail2ban finds each address."""
    done = subprocess.run(
        [need("fail2ban-regex"), "-o", "ip", str(log), f"{BAN / 'filter.d/popular.conf'}[mode={mode}]"],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(collections.Counter(done.stdout.split()))


def test_exactly_the_guilty_are_banned(site: tuple[Path, int]) -> None:
    """Each guess counts, and nothing else does, in whichever form the log is."""
    log, guesses = site
    assert FRAMED in log.read_text()
    assert INNOCENT in log.read_text()
    assert _banned(log) == dict.fromkeys(GUILTY, guesses)


@pytest.mark.parametrize(("form", "fractions"), [("text", False), ("text", True), ("json", False)])
def test_whose_refusal_counts(tmp_path: Path, form: str, fractions: bool) -> None:
    """A backend's only where it is said; who was locked out has guessed nothing. What a backend says is no more
    believed than what a client says.
    """
    lines = Lines("pproxy", fractions)
    render = lines.text if form == "text" else lines.json
    with (tmp_path / "log").open("wb") as log:
        for number, why in enumerate(("unknown", "password", "locked", "backend")):
            who = {"client": f"203.0.113.{number}", "vserv": "v", "namespace": "n", "user": f"j' client='{FRAMED}"}
            said = {"mechanism": "PLAIN", "why": why, "backend": "b", "reply": f"-ERR client='{FRAMED}'"}
            log.write(render(LOGIN_FAILED.name, LOGIN_FAILED, "s.1.2", fields={**who, **said}))
    assert _banned(tmp_path / "log") == {"203.0.113.0": 1, "203.0.113.1": 1}
    assert _banned(tmp_path / "log", "backend") == {"203.0.113.0": 1, "203.0.113.1": 1, "203.0.113.3": 1}


@pytest.mark.nightly
def test_a_real_fail2ban_bans_in_the_proxy(tmp_path: Path) -> None:
    """The jail, the filter and the action as they are, but for the paths: who guesses is blocked by the proxy itself,
    until the time is up, and the record says who did it.
    """
    port, home = free_port(), tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", home)
    for part in ("filter.d", "action.d"):
        shutil.copy(BAN / part / "popular.conf", home / part)
    for path in (home / "jail.d").iterdir():
        path.unlink()
    (home / "jail.conf").write_text("")
    (tmp_path / "users").write_text("n:joe:{PLAIN}secret:b:\n")
    lines = [
        f"pdm add users passwd {tmp_path / 'users'}",
        f"vserv conf v iface {LOOPBACK} port {port} namespace n proxyprotocol require trusted 127.0.0.0/8 state online",
    ]
    options = ["-n", "100", "--auditlog", str(tmp_path / "audit")]
    with Proxy(tmp_path, lines, workers=1, options=options) as proxy:
        jail = (BAN / "jail.d/popular.conf").read_text().replace("/var/log/popular/pproxy", str(proxy.logfile))
        assert "maxretry = 10" in jail
        (home / "jail.d" / "popular.conf").write_text(jail)
        action = (home / "action.d/popular.conf").read_text()
        action = action.replace("/opt/popular/bin/pcontrol", program("pcontrol"))
        (home / "action.d/popular.conf").write_text(action.replace("/var/run/popular", str(proxy.rundir)))
        (home / "fail2ban.local").write_text(f"[Definition]\ndbfile = None\nlogtarget = {tmp_path / 'f2b.log'}\n")
        place = ["-c", str(home), "-s", str(tmp_path / "f2b.sock"), "-p", str(tmp_path / "f2b.pid")]
        server = subprocess.Popen([need("fail2ban-server"), *place, "-f", "start"], stdout=subprocess.DEVNULL)
        try:
            log = tmp_path / "f2b.log"
            wait_until(lambda: log.exists() and "Jail 'popular' started" in log.read_text(), "the jail is there")
            _guess(port, GUILTY[0], NAMES)
            _guess(port, INNOCENT, ["joe"] * 9)
            wait_until(lambda: len(proxy.json("block list")) == 1, "he is blocked")
            (blocked,) = proxy.json("block list")
            assert blocked["network"] == f"{GUILTY[0]}/32"
            assert blocked["until"] is not None
            wait_until(lambda: '"as": "fail2ban"' in (tmp_path / "audit").read_text(), "it is on record")
            record = json.loads((tmp_path / "audit").read_text().splitlines()[-1])
            assert (record["command"], record["as"]) == (f"block {GUILTY[0]} until 3600s", "fail2ban")
            assert record["message"] == "jail popular"
        finally:
            server.terminate()
            server.wait(patient(20))


CROWDSEC = Path(__file__).parents[2] / "deploy/ban/crowdsec"
_CROWDSEC_CONFIG = """
common: {{daemonize: false, log_media: stdout, log_level: info}}
config_paths:
  config_dir: {home}/
  data_dir: {home}/data/
  simulation_path: {home}/simulation.yaml
  hub_dir: /var/lib/crowdsec/hub/
  index_path: /var/lib/crowdsec/hub/.index.json
crowdsec_service: {{acquisition_path: {home}/acquis.yaml, parser_routines: 1}}
db_config: {{type: sqlite, db_path: {home}/data/db}}
api:
  client: {{credentials_path: {home}/credentials.yaml}}
  server: {{listen_uri: "127.0.0.1:{port}", profiles_path: {home}/profiles.yaml}}
prometheus: {{enabled: false}}
"""


@pytest.mark.nightly
def test_a_real_crowdsec_bans_exactly_the_guilty(tmp_path: Path) -> None:
    """With its parsers of syslog and dates, and ours as it is: who has guessed more than ten names that do not exist,
    or whose password was wrong, whatever they are; not who was locked out, nor whom his backend has refused, nor who
    is in such a name.
    """
    home, log = tmp_path / "crowdsec", tmp_path / "log"
    render = Lines("pproxy", True).json
    with log.open("wb") as file:
        for name in NAMES:
            whys = dict(
                zip((*GUILTY, INNOCENT, "203.0.113.1"), ("unknown", "password", "locked", "backend"), strict=True)
            )
            for client, why in whys.items():
                who = {"client": client, "vserv": "v", "namespace": "n", "user": name, "mechanism": ""}
                said = {"why": why, "backend": "b", "reply": f"-ERR client='{FRAMED}'"}
                file.write(render(LOGIN_FAILED.name, LOGIN_FAILED, "s.1.2", fields={**who, **said}))
    hub = Path(need("crowdsec")).parents[2] / "var/lib/crowdsec/hub/parsers"
    for part in ("parsers", "scenarios"):
        shutil.copytree(CROWDSEC / part, home / part)
    for stage, parser in (("s00-raw", "syslog-logs"), ("s02-enrich", "dateparse-enrich")):
        (home / "parsers" / stage).mkdir()
        shutil.copy(hub / stage / "crowdsecurity" / f"{parser}.yaml", home / "parsers" / stage)
    (home / "data").mkdir()
    for name in ("simulation.yaml", "acquis.yaml", "credentials.yaml", "profiles.yaml"):
        (home / name).write_text("")
    shutil.copy("/etc/crowdsec/profiles.yaml", home / "profiles.yaml")
    shutil.copytree("/etc/crowdsec/patterns", home / "patterns")
    config = home / "config.yaml"
    config.write_text(_CROWDSEC_CONFIG.format(home=home, port=free_port()))
    heard = [
        subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=True)
        for command in (
            [need("cscli"), "-c", str(config), "machines", "add", "tester", "--auto", "--force"],
            [need("crowdsec"), "-c", str(config), "-type", "popular", "-dsn", f"file://{log}"],
        )
    ]
    found = re.findall(r"Ip (\S+) performed '(\S+)'", heard[1].stdout + heard[1].stderr)
    assert set(found) == {(address, "popular/pproxy-bf") for address in GUILTY}, heard[1].stdout + heard[1].stderr
