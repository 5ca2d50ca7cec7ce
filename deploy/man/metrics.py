"""popular-metrics(7): every metric, from the programs' rows."""

from collections.abc import Iterable

from deploy.all_metrics import METRICS, programs_of
from deploy.man.parts import Section, example, see_also, terms, text
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.metric import Metric

PATHS = (
    ("/metrics", "the metrics, as text for Prometheus, or as OpenMetrics for who asks for it"),
    ("/livez", "200 while the master gives signs of life; else 503 and the reason"),
    (
        "/readyz",
        "200 if clients should be sent here; 503 and the reason while the program is draining, while the load is at "
        "its limit, and while no virtual server is online or no worker serves",
    ),
)


def _name(metric: Metric) -> str:
    labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
    return f"{metric.name}{labels}"


def _row(metric: Metric) -> tuple[str, str]:
    programs = programs_of(metric)
    only = "" if len(programs) > 1 else f", {programs[0]} only"
    return _name(metric), f"{metric.help} ({metric.kind}{only}; from: {metric.origin})"


def _rows() -> Iterable[tuple[str, str]]:
    return map(_row, METRICS)


def metrics_page() -> list[Section]:
    """The sections of the page."""
    return [
        (
            "DESCRIPTION",
            text(
                "pproxy and pserv have an exporter, a process of its own that answers HTTP at the address of the "
                f"option --metrics (default: {PPROXY.exporter_address} for pproxy, {PSERV.exporter_address} for pserv; "
                "off for none). The variable metrics shows the address in use. If another process has the address, the "
                "exporter tries again every second, and the program starts nevertheless.",
                "Everything comes from the session table, to which the workers write and which the exporter only "
                "reads: a scrape costs no worker anything, and no counter falls when a worker dies. A counter or "
                "histogram that is kept for each virtual server, backend or module is there, at 0, as soon as the "
                "thing is configured, and stays when it is removed, until another thing needs its place. No label "
                "holds a user name or an address.",
            ),
        ),
        ("PATHS", terms(PATHS)),
        ("METRICS", terms(_rows())),
        (
            "EXAMPLE",
            text("A job of Prometheus:")
            + "\n"
            + example("scrape_configs:", "  - job_name: pproxy", "    static_configs: [{targets: ['127.0.0.1:9110']}]"),
        ),
        see_also("pproxy(8)", "pserv(8)", "pstatus(1)"),
    ]
