"""The metrics of `pserv`, beside those that every program has."""

from popular.metrics import traffic
from supervisor.metric import Counts, Metric, Things

SERVER = Things(sort="server", name="vserv", facts="vservs")

METRICS = (
    Metric("popular_mailboxes_opened_total", "Mailboxes opened.", Counts("opened")),
    Metric("popular_messages_retrieved_total", "Messages sent whole.", Counts("retrieved")),
    Metric("popular_messages_deleted_total", "Messages removed.", Counts("deleted")),
    Metric(
        "popular_untrusted_peers_total",
        "Connections that were closed at once because their address is not in trusted.",
        Counts("untrusted_peers"),
    ),
    *traffic("client"),
)
