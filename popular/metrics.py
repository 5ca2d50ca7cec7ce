"""The metrics that proxy and storage server share."""

from popular.net.handshake import FAILURES as TLS_FAILURES
from supervisor.metric import Counts, Described, Durations, Label, Metric, Things
from supervisor.table.contents import microseconds

CERTIFICATE = Things(sort="certificate", name="certificate", facts="certificates", key="name")

NETWORK = microseconds(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

TLS = (
    Metric(
        "popular_tls_handshakes_total",
        "TLS handshakes with clients that succeeded, by version.",
        Counts("tls_handshakes"),
        (Label("version", ("TLSv1.2", "TLSv1.3")),),
    ),
    Metric(
        "popular_tls_handshake_failures_total",
        "TLS handshakes with clients that failed, by reason.",
        Counts("tls_failures"),
        (Label("reason", TLS_FAILURES),),
    ),
    Metric(
        "popular_tls_resumptions_total",
        "TLS handshakes that resumed a session.",
        Counts("tls_resumptions"),
    ),
    Metric(
        "popular_tls_handshake_duration_seconds",
        "How long TLS handshakes with clients took that succeeded.",
        Durations("tls_handshake_duration", NETWORK),
        unit="s",
    ),
    Metric(
        "popular_tls_certificate_not_after_timestamp_seconds",
        "When a certificate ends.",
        Described("not_after"),
        (CERTIFICATE,),
        unit="timestamp",
    ),
)


def traffic(*legs: str) -> tuple[Metric, ...]:
    """The octets of a program's sessions, by these legs."""
    leg = Label("leg", legs)
    return (
        Metric(
            "popular_received_bytes_total",
            "Octets of POP3 received, by leg. Those of the backend's login dialogue are not counted.",
            Counts("received_bytes"),
            (leg,),
            unit="bytes",
        ),
        Metric(
            "popular_sent_bytes_total",
            "Octets of POP3 sent, by leg. Those of the backend's login dialogue are not counted.",
            Counts("sent_bytes"),
            (leg,),
            unit="bytes",
        ),
    )
