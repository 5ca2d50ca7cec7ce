"""The metrics that proxy and storage server share."""

from supervisor.metric import Counts, Label, Metric


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
