"""The metrics of `pserv`, beside those that every program has."""

from popular.metrics import TLS, traffic
from supervisor.metric import Counts, Metric, Things

SERVER = Things(sort="server", name="vserv", facts="vservs")
BACKEND = Things(sort="backend", name="backend", facts="backends")
"""There are none; who reads the status pages of proxy and storage server finds an empty list."""

METRICS = (
    Metric("popular_mailboxes_opened_total", "Mailboxes opened.", Counts("opened")),
    Metric("popular_messages_retrieved_total", "Messages sent whole.", Counts("retrieved")),
    Metric("popular_messages_deleted_total", "Messages removed.", Counts("deleted")),
    Metric(
        "popular_untrusted_peers_total",
        "Connections that were closed at once because their address is not in trusted.",
        Counts("untrusted_peers"),
    ),
    *TLS,
    *traffic("client"),
)
