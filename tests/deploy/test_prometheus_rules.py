"""Alerts and recording rules: promtool's own checks, and what they name exists."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from popular.proxy.program import PROGRAM as PPROXY
from supervisor.control.language.language import Language
from supervisor.control.words import split
from tests.deploy.named import SERIES, fault
from tests.deploy.promql import selections
from tests.patience import patient
from tests.system.site import need

HERE = Path(__file__).parents[2] / "deploy/prometheus"
RUNBOOK = (HERE / "RUNBOOK.md").read_text()


def rules(name: str) -> list[dict[str, Any]]:
    """All rules of one of the files, without their groups."""
    return [rule for group in yaml.safe_load((HERE / name).read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
RECORDS = {rule["record"]: rule for rule in rules("recording.yml")}
CASES = yaml.safe_load((HERE / "alerts_test.yml").read_text())["tests"]
every_alert = pytest.mark.parametrize("name", ALERTS)


def promtool(*words: str) -> str:
    """What it says, if it finds no fault."""
    done = subprocess.run(
        [need("promtool"), *words], cwd=HERE, capture_output=True, text=True, timeout=patient(60), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- by promtool ------------------------------------------------------------------------------------------------------


@pytest.mark.clients
def test_promtool_finds_no_fault() -> None:
    """In the rules, and in the example of a configuration, which reads them."""
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml", "recording.yml")
    assert f"{len(ALERTS)} rules found" in said
    assert f"{len(RECORDS)} rules found" in said
    assert "2 rule files found" in promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")


@pytest.mark.clients
def test_the_alerts_fire_when_they_should() -> None:
    """And do not when they should not, by the cases in alerts_test.yml."""
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


@every_alert
def test_each_alert_has_both_cases(name: str) -> None:
    """One in which it fires, and one in which it does not."""
    fires = {
        bool(it.get("exp_alerts"))
        for case in CASES
        for it in case.get("alert_rule_test", ())
        if it["alertname"] == name
    }
    assert fires == {True, False}


# --- what they name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [*ALERTS.values(), *RECORDS.values()], ids=[*ALERTS, *RECORDS])
def test_metrics_and_labels_exist(rule: dict[str, Any]) -> None:
    """Counters only under rate or increase; and no rule needs another one: each file works alone."""
    found = selections(rule["expr"])
    assert found
    assert [fault(selection) for selection in found if fault(selection) is not None] == []


def test_values_of_labels_exist() -> None:
    """A reason or cause that no program counts would make an alert that never fires."""
    checked = 0
    for rule in (*ALERTS.values(), *RECORDS.values()):
        for selection in selections(rule["expr"]):
            for label in selection.matchers.keys() & {"reason", "cause"}:
                values = selection.matchers[label].lstrip("=!~").split("|")
                assert set(values) <= set(SERIES[selection.metric].values), rule
                checked += 1
    assert checked >= 6


@every_alert
def test_an_alert_is_complete(name: str) -> None:
    """A name in CamelCase with our prefix, a severity, a summary, what it means and what to do."""
    rule = ALERTS[name]
    assert re.fullmatch(r"Popular([A-Z][a-z]+)+", name)
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["summary"]) < 100
    assert "`pcontrol -c '" in rule["annotations"]["description"]


@every_alert
def test_an_alert_has_a_runbook(name: str) -> None:
    """A chapter of its own, which its annotation leads to, and in which there is something to do."""
    assert ALERTS[name]["annotations"]["runbook"] == f"RUNBOOK.md#{name.lower()}"
    chapters = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL))
    assert len(chapters[name]) > 60


def test_the_runbook_has_no_chapter_too_many() -> None:
    """Nor one twice."""
    assert sorted(re.findall(r"^## (\w+)$", RUNBOOK, flags=re.MULTILINE)) == sorted(ALERTS)


def commands() -> set[str]:
    """All that an operator is told to say to pcontrol; where an alert would write an id, it says ID."""
    texts = [RUNBOOK, *(re.sub(r"{{.*?}}", "ID", rule["annotations"]["description"]) for rule in ALERTS.values())]
    commands = [shlex.split(it) for text in texts for it in re.findall(r"`(pcontrol [^`]*)`", text)]
    return {words[2] for words in commands if words[:2] == ["pcontrol", "-c"]}


@pytest.mark.parametrize("command", sorted(commands()))
def test_commands_exist(command: str) -> None:
    """Each that an alert or the runbook recommends is one of the control language, about a variable that there is."""
    found, arguments = Language(PPROXY.commands).match(split(command))
    if arguments.get("variable") is not None:
        assert arguments["variable"] in {variable.name for variable in PPROXY.variables}
    assert found.pattern.split()[0] == command.split()[0]


@pytest.mark.parametrize("name", RECORDS)
def test_names_of_records(name: str) -> None:
    """level:metric:operation, where the level is the labels that are left beside job, and the metric is one of ours."""
    level, metric, _operation = name.split(":")
    (first, *_) = selections(RECORDS[name]["expr"])
    assert level.split("_") == [label for label in LEVELS if label in first.labels - {"job"}] or level == "job"
    assert metric.startswith("popular_")
    assert first.metric.startswith(metric.removesuffix("_per_attempt").removesuffix("_per_limit"))


LEVELS = ("instance", "vserv", "backend", "module", "leg", "reason")
