"""Reads an exporter as Prometheus does: families with their kinds, samples with their labels."""

import http.client
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.patience import patient
from tests.system.site import Proxy, wait_until

Labels = frozenset[tuple[str, str]]


class Answer(NamedTuple):
    """What came over HTTP."""

    status: int
    fields: dict[str, str]
    body: bytes


def address(proxy: Proxy) -> tuple[str, int]:
    """Where the exporter of a program listens; waits until it does."""
    wait_until(lambda: proxy.json("show metrics")["metrics"], "the exporter listens")
    host, _, port = proxy.json("show metrics")["metrics"].rpartition(":")
    return host.strip("[]"), int(port)


def get(place: tuple[str, int], path: str, method: str = "GET", **fields: str) -> Answer:
    """One request; underscores in the names of header fields stand for hyphens."""
    connection = http.client.HTTPConnection(*place, timeout=patient(5))
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


class Scrape:
    """The metrics of one moment."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kinds: dict[str, str] = {}
        """By the name of the family, without `_total` (as the parser has it)."""
        self.helps: dict[str, str] = {}
        self.samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            self.kinds[family.name], self.helps[family.name] = family.type, family.documentation
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, f"twice: {key}"
                self.samples[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """One sample, by all of its labels."""
        return self.samples[name, frozenset(labels.items())]

    def sum(self, name: str, **labels: str) -> float:
        """All samples of a name that have these labels, among others."""
        wanted = frozenset(labels.items())
        found = [value for (one, own), value in self.samples.items() if one == name and wanted <= own]
        assert found, f"no sample of {name} with {labels}"
        return sum(found)

    def falls(self, later: "Scrape") -> list[str]:
        """Counters, and what histograms count, that are smaller later, or gone."""
        return [
            f"{name}{dict(labels)}: {value} → {later.samples.get((name, labels))}"
            for (name, labels), value in self.samples.items()
            if name.endswith(("_total", "_bucket", "_count", "_sum"))
            and not later.samples.get((name, labels), -1.0) >= value
        ]


def scrape(proxy: Proxy) -> Scrape:
    """What `/metrics` says now."""
    answer = get(address(proxy), "/metrics")
    assert answer.status == 200, answer
    return Scrape(answer.body.decode())
