"""A real Prometheus scrapes real programs under load: every dashboard, alert and recording rule has data to work on."""

import contextlib
import math
import os
import poplib
import re
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popular.store.maildir.maildir import Maildir
from tests.deploy.promql import Selection, selections, tokens
from tests.deploy.test_grafana import BOARDS, EXPRESSIONS
from tests.deploy.test_prometheus_rules import ALERTS, RECORDS, commands
from tests.patience import patient
from tests.system.certificates import Authority
from tests.system.prometheus import Prometheus
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(patient(180))]

USERS = {"joe": "store", "ann": "store", "eve": "dead", "kim": "faked"}
"""Everybody's password is `secret`. joe has mail; ann has none; eve's backend does not exist."""
COMPARISONS = {"<", ">", "<=", ">=", "==", "!="}
"""What makes an alert out of a measurement."""
VARIABLES = {"$job": "pproxy|pserv", "$instance": ".+", "$__rate_interval": "1m"}


class Site:
    """pproxy, pserv, pcheckd, and a Prometheus that watches the first two."""

    def __init__(self, proxy: Proxy, store: Proxy, prometheus: Prometheus, ports: dict[str, int]) -> None:
        self.proxy = proxy
        self.store = store
        self.prometheus = prometheus
        self.ports = ports


@contextlib.contextmanager
def pcheckd(directory: Path, root: Path, port: int) -> Iterator[None]:
    """Answers mail checks until the block ends."""
    command = [program("pcheckd"), "--nodaemon", "-h", LOOPBACK, "-p", str(port), "-m", str(root)]
    process = subprocess.Popen([*command, "-l", str(directory / "pcheckd.log"), "-r", str(directory / "check")])
    try:
        yield
    finally:
        process.terminate()
        process.wait(patient(10))


def proxy_commands(directory: Path, ports: dict[str, int]) -> list[str]:
    """Backends of every fate, a module that answers and one that cannot, servers in clear, in TLS, and disabled."""
    conf = f"iface {LOOPBACK} namespace main"
    return [
        f"set checkport {ports['check']}",
        f"set tlsdir {directory / 'tls'}",
        f"backend conf store host {LOOPBACK} port {ports['store']} prot CXPOP state online",
        f"backend conf dead host {LOOPBACK} port {ports['nobody']} state online",
        f"backend conf faked host {LOOPBACK} port {ports['nobody']} state fake",
        f"backend conf spare host {LOOPBACK} port {ports['nobody']} state fake",
        f"pdm add users passwd {directory}/users",
        f"vserv conf v {conf} port {ports['clear']} state online",
        f"vserv conf s {conf} port {ports['tls']} prot POP3s state online",
        f"vserv conf off {conf} port {ports['disabled']} state disabled",
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, after some seconds of everything that can be counted."""
    directory = tmp_path_factory.mktemp("watched")
    names = ("clear", "tls", "disabled", "store", "check", "nobody", "pproxy", "pserv")
    ports = {name: free_port() for name in names}
    for name in ("pop", "tls", "store"):
        (directory / name).mkdir()
    authority = Authority()
    authority.issue("localhost").write(directory / "tls", "default")
    (directory / "users").write_text(
        "".join(f"main:{user}:{{PLAIN}}secret:{backend}:x/{user}\n" for user, backend in USERS.items())
    )
    (directory / "users").chmod(0o600)
    Maildir(directory / "pop", "x/joe").deliver([b"Subject: one\r\n\r\nhello\r\n"])
    store_rc = [
        f"set mailboxdir {directory / 'pop'}",
        f"server conf iface {LOOPBACK} port {ports['store']} state online",
    ]
    options = {name: ("--metrics", f"{LOOPBACK}:{ports[name]}") for name in ("pproxy", "pserv")}
    with (
        pcheckd(directory, directory / "pop", ports["check"]),
        Proxy(directory / "store", store_rc, options=options["pserv"], name="pserv") as store,
        Proxy(directory, proxy_commands(directory, ports), options=options["pproxy"]) as proxy,
        Prometheus(directory, {name: ports[name] for name in options}) as prometheus,
    ):
        made = Site(proxy, store, prometheus, ports)
        prometheus.wait_for_scrapes(2)
        with crowd(made, authority.trusting()):
            provoke(made)
            prometheus.wait_for_scrapes(6)
            yield made
        proxy.wait_until_quiet()
        store.wait_until_quiet()


# --- the crowd --------------------------------------------------------------------------------------------------------


def mail_is_read(site: Site, trust: ssl.SSLContext) -> None:
    """By joe, in TLS and in clear."""
    secure = poplib.POP3_SSL("localhost", site.ports["tls"], context=trust, timeout=patient(20))
    for client in (secure, poplib.POP3(LOOPBACK, site.ports["clear"], timeout=patient(20))):
        with closing(client):
            log_in(client, "joe")
            client.retr(1)
            client.quit()


def mailboxes_are_empty(site: Site, _trust: ssl.SSLContext) -> None:
    """ann's is asked for by UDP, kim's backend is a fake."""
    for user in ("ann", "kim"):
        with closing(poplib.POP3(LOOPBACK, site.ports["clear"], timeout=patient(20))) as client:
            log_in(client, user)
            client.quit()


def logins_fail(site: Site, _trust: ssl.SSLContext) -> None:
    """A wrong password, a user whom nobody knows, and a backend that is not there."""
    for user, password in (("joe", "wrong"), ("nobody", "secret"), ("eve", "secret")):
        with PopClient(site.ports["clear"]) as client:
            client.greeted()
            assert client.log_in(user, password).startswith(b"-ERR")


def clients_are_refused(site: Site, _trust: ssl.SSLContext) -> None:
    """A server that is disabled, and one that speaks TLS to somebody who does not."""
    for name in ("disabled", "tls"):
        with PopClient(site.ports[name]) as client:
            client.say(b"CAPA\r\n")
            with contextlib.suppress(ConnectionError):
                client.rest()


@contextlib.contextmanager
def closing(client: poplib.POP3) -> Iterator[poplib.POP3]:
    try:
        yield client
    finally:
        client.close()


def log_in(client: poplib.POP3, user: str) -> None:
    client.user(user)
    client.pass_("secret")


@contextlib.contextmanager
def crowd(site: Site, trust: ssl.SSLContext) -> Iterator[None]:
    """All of them, again and again, until the block ends. None may meet what it does not expect."""
    over = threading.Event()
    surprises: list[str] = []

    def play(handler: Callable[[Site, ssl.SSLContext], None]) -> None:
        while not over.wait(0.05):
            try:
                handler(site, trust)
            except (OSError, poplib.error_proto, AssertionError) as error:
                surprises.append(f"{handler.__name__}: {error!r}")

    handlers = (mail_is_read, mailboxes_are_empty, logins_fail, clients_are_refused)
    players = [threading.Thread(target=play, args=(handler,)) for handler in handlers]
    for player in players:
        player.start()
    try:
        yield
    finally:
        over.set()
        for player in players:
            player.join(patient(30))
    assert len(surprises) <= len(handlers), surprises  # whose worker was killed


def provoke(site: Site) -> None:
    """A worker is killed, others are recycled; a command is refused; somebody stays."""
    victim = site.proxy.workers()[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: site.proxy.log("worker_died"), "the death is noticed")
    site.proxy.said("workers recycle")
    assert not site.proxy.control("nonsense").ok
    site.store.said("show pid")
    time.sleep(2)


# --- what Prometheus makes of it --------------------------------------------------------------------------------------


def filled(expression: str) -> str:
    """With values for the variables of a dashboard."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def has_numbers(site: Site, expression: str) -> bool:
    """Whether it gives at least one series, and not of NaN only."""
    return any(not math.isnan(value) for _labels, value in site.prometheus.ask(expression))


def judged(condition: str) -> str:
    """A condition that tells 0 or 1 instead of keeping what is true: it has a value whenever all its sides have."""
    words, in_braces = [], False
    for token in tokens(condition):
        in_braces = token.text == "{" or (in_braces and token.text != "}")
        is_comparison = token.text in COMPARISONS and not in_braces
        words.append(f"{token.text} bool" if is_comparison else "and" if token.text == "unless" else token.text)
    return " ".join(words)


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_dashboards_have_data(site: Site, where: str) -> None:
    """Every expression of every panel gives numbers; those of annotations are understood, and may say nothing."""
    expression = filled(EXPRESSIONS[where])
    assert "$" not in expression
    if "changes(" in expression:
        expression = judged(expression)
    assert has_numbers(site, expression), expression


@pytest.mark.parametrize("board", BOARDS)
def test_variables_have_values(site: Site, board: str) -> None:
    """The jobs and instances that can be chosen are those that are there."""
    for variable in BOARDS[board]["templating"]["list"][1:]:
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", filled(variable["query"]["query"]))
        assert match is not None
        values = {labels[match[2]] for labels, _ in site.prometheus.ask(match[1])}
        ports = {"pproxy", "pserv"} if board == "popular-workers" else {"pproxy"}
        assert values == (ports if match[2] == "job" else {f"{LOOPBACK}:{site.ports[name]}" for name in ports})


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_have_data(site: Site, name: str) -> None:
    """Each metric of its condition is there, with these labels, and the condition can be judged, true or not."""
    condition = ALERTS[name]["expr"]
    for selection in selections(condition):
        assert has_numbers(site, selector(selection)), selection
    assert has_numbers(site, judged(condition)) != condition.startswith("absent(")


def selector(selection: Selection) -> str:
    """As it stood in the expression, without a span."""
    matchers = []
    for label, matcher in selection.matchers.items():
        value = matcher.lstrip("=!~")
        matchers.append(f'{label}{matcher.removesuffix(value)}"{value}"')
    return f"{selection.metric}{{{', '.join(matchers)}}}"


@pytest.mark.parametrize("name", RECORDS)
def test_records_have_data(site: Site, name: str) -> None:
    """What the rule has recorded is there, and so is its expression."""
    assert has_numbers(site, RECORDS[name]["expr"])
    assert has_numbers(site, name)


def test_no_rule_fails(site: Site) -> None:
    """Prometheus itself evaluates all of them, every second, without complaint."""
    rules = [rule for group in site.prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(ALERTS) + len(RECORDS)
    assert {rule["name"]: rule["health"] for rule in rules} == {rule["name"]: "ok" for rule in rules}


def test_the_right_alerts_are_up(site: Site) -> None:
    """They wait for their time to pass, or fire: those that this crowd deserves, and none that it does not."""
    deserved = {"PopularBackendUnavailable", "PopularLoginsBroken", "PopularCertificateExpiresSoon"}
    possible = {"PopularLoginFailureRatioHigh", "PopularAuthAttack", "PopularEventLoopLag"}
    wait_until(lambda: alerts(site) >= deserved, "the alerts that are deserved", patient(60))
    assert alerts(site) <= deserved | possible


def alerts(site: Site) -> set[str]:
    """Those that are pending or firing."""
    return {alert["labels"]["alertname"] for alert in site.prometheus.get("alerts")["alerts"]}


def test_commands_of_the_runbook_work(site: Site) -> None:
    """What an alert or the runbook tells an operator to say is carried out by a proxy, but for those that end it."""
    examples = {
        "pdm reload ID": "pdm reload users",
        "trace stop ID": "trace stop 1",
        "workers N": "workers 3",
        "ID": "spare",
        "N": "1010",
        "NAME": "joe",
    }
    said = [
        re.sub(rf"\b({'|'.join(examples)})\b", lambda match: examples[match[0]], command)
        for command in sorted(commands())
        if not command.startswith(("shutdown", "kill"))
    ]
    assert len(said) >= 15
    for order in ("backend drain spare", "user hold joe", "trace start user joe"):  # what some of them end
        assert site.proxy.control(order, patient(30)).ok
    answers = {command: site.proxy.control(command, patient(30)) for command in said}
    assert {command: answer.text for command, answer in answers.items() if not answer.ok} == {}
