"""The table of metrics, compared with what real programs export: nothing more, nothing less, and clean."""

import subprocess
from pathlib import Path

import pytest

from deploy.all_metrics import METRICS
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.common_metrics import metrics_of
from supervisor.master.accounting import table_layout
from supervisor.metric import COUNTER, GAUGE, HISTOGRAM, INFO, PREFIX, Metric
from supervisor.program import Program
from tests.patience import patient
from tests.system import certificates
from tests.system.scrape import Scrape, address, get, scrape
from tests.system.site import LOOPBACK, Proxy, free_port, need, wait_until

PROGRAMS = {"pproxy": PPROXY, "pserv": PSERV}
SUFFIXES = {COUNTER: ("_total",), GAUGE: ("",), INFO: ("_info",), HISTOGRAM: ("_bucket", "_sum", "_count")}
UNITS = {"s": "_seconds", "bytes": "_bytes", "ratio": "_ratio", "timestamp": "_seconds", "": ""}


def lines(name: str, directory: Path) -> list[str]:
    """A configuration in which every family has a sample."""
    tls = directory / "tls"
    tls.mkdir()
    certificates.Authority().issue("localhost").write(tls, "default")
    if name == "pserv":
        server = f"server conf iface {LOOPBACK} port {free_port()} prot XPOPs clientcert off state online"
        return [f"set tlsdir {tls}", server]
    return [
        f"set tlsdir {tls}",
        f"backend conf b host {LOOPBACK} port {free_port()} state online",
        "pdm add m any b",
        f"vserv conf v iface {LOOPBACK} port {free_port()} starttls optional state online",
    ]


def full(proxy: Proxy) -> Scrape:
    """A scrape in which the facts, the master's pulse and the workers' first heartbeats are."""
    wait_until(lambda: "accept_queue_length{" in get(address(proxy), "/metrics").body.decode(), "the master has told")
    return scrape(proxy)


@pytest.mark.processes
@pytest.mark.parametrize("name", ["pproxy", "pserv"])
def test_a_real_scrape_has_exactly_these_families(name: str, tmp_path: Path) -> None:
    """Each with its kind, its help text and its labels; promtool has nothing to say against any."""
    with Proxy(tmp_path, lines(name, tmp_path), name=name, metrics=f"{LOOPBACK}:0") as proxy:
        seen = full(proxy)
    expected = {family.name: family for family in metrics_of(PROGRAMS[name])}
    assert len(expected) == len(metrics_of(PROGRAMS[name]))
    stems = {_parsed(family): family for family in expected.values()}
    assert seen.kinds.keys() == stems.keys()
    for stem, family in stems.items():
        assert seen.kinds[stem] == {INFO: GAUGE}.get(family.kind, family.kind), stem
        assert seen.helps[stem] == family.help
    sampled: dict[str, set[frozenset[str]]] = {}
    for sample, labels in seen.samples:
        sampled.setdefault(sample, set()).add(frozenset(key for key, _value in labels))
    for family in expected.values():
        samples = [family.name + suffix for suffix in (SUFFIXES[HISTOGRAM] if family.kind == HISTOGRAM else ("",))]
        for sample in samples:
            wanted = {*family.labels, *(("le",) if sample.endswith("_bucket") else ())}
            assert sampled.pop(sample) == {frozenset(wanted)}, sample
    assert sampled == {}, "samples of no family"
    checked = subprocess.run(
        [need("promtool"), "check", "metrics"], input=seen.text, text=True, capture_output=True, timeout=patient(30)
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _parsed(family: Metric) -> str:
    """The name under which the parser of the text format has a family."""
    return family.name.removesuffix("_total") if family.kind == COUNTER else family.name


@pytest.mark.parametrize("family", METRICS, ids=lambda family: family.name)
def test_names_follow_the_conventions(family: Metric) -> None:
    """Prefix, suffix of the kind, base unit in the name, a command of help, and no label that could name a user."""
    assert family.name.startswith(PREFIX)
    assert family.kind == HISTOGRAM or family.name.endswith(SUFFIXES[family.kind])
    assert (family.kind == COUNTER) == family.name.endswith("_total")
    bare = family.name.removesuffix("_total")
    assert bare.endswith(UNITS[family.unit])
    assert family.help.endswith(".")
    assert "\n" not in family.help
    assert not {"user", "client", "address", "mailbox", "sid"} & set(family.labels)


@pytest.mark.parametrize("program", [PPROXY, PSERV], ids=lambda program: program.name)
def test_whatever_is_counted_is_shown(program: Program) -> None:
    """The table counts what the rows say, under names that are there once, with as many cells as there are values."""
    counted = table_layout(program, 3, {"sessionlimit": 10}).counted
    assert len({row.name for row in counted}) == len(counted)


def test_programs_agree_on_what_they_share() -> None:
    """One name is one metric: the same help, kind, labels and unit in each program that has it."""
    for metric in METRICS:
        for program in PROGRAMS.values():
            for row in metrics_of(program):
                if row.name == metric.name:
                    assert (row.help, row.kind, row.labels, row.unit) == (
                        metric.help,
                        metric.kind,
                        metric.labels,
                        metric.unit,
                    )


@pytest.mark.parametrize("program", [PPROXY, PSERV], ids=lambda program: program.name)
def test_no_metric_is_named_twice(program: Program) -> None:
    """The name is the key."""
    names = [metric.name for metric in metrics_of(program)]
    assert len(set(names)) == len(names)
