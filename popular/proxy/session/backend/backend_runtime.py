"""What sessions need of one backend under one config: its settings, what is known of it, where it is counted."""

from collections.abc import Callable

from popular.proxy.session.backend.backend_admission import BackendAdmission
from popular.proxy.session.backend.contracts import BackendKnowledge, HealthKnowledge
from popular.proxy.session.backend.mailcheck import CheckSockets
from popular.proxy.session.backend.reach import Reach
from popular.proxy.session.backend.rejections import UnexplainedRejections
from popular.proxy.settings.backend import OFF, OURS_ALONE, POP3, STARTTLS, USER, Backend, placed_at
from supervisor.system import Observer


class BackendRuntime:
    """A backend as sessions use it: what a login reads of it stands in one place, and what follows from its settings is
    worked out once.
    """

    __slots__ = (
        "absorbs",
        "address",
        "admission",
        "announced",
        "asks_for_mail",
        "check_sockets",
        "connect_durations",
        "connect_seconds",
        "health",
        "id",
        "in_clear",
        "is_introduced",
        "is_online",
        "login_durations",
        "login_seconds",
        "names_client",
        "note_affected",
        "patience",
        "port",
        "reach",
        "rejections",
        "says_user",
        "settings",
        "source",
        "speaks_pop3",
        "state",
        "tells_stls",
        "trusts_us",
    )

    def __init__(
        self,
        settings: Backend,
        seconds: tuple[float, float],
        *,
        announced: BackendKnowledge | None = None,
        health: HealthKnowledge | None = None,
        rejections: UnexplainedRejections | None = None,
        reach: Reach | None = None,
        admission: BackendAdmission | None = None,
        check_sockets: CheckSockets | None = None,
        connect_durations: Observer | None = None,
        login_durations: Observer | None = None,
        note_affected: Callable[[str, str], None] | None = None,
    ) -> None:
        """`seconds`: how long a connect and a login may take where the backend has no times of its own."""
        self.settings = settings
        self.id = settings.id
        self.state = settings.state
        self.address, self.port, self.source = settings.address, settings.port, settings.source
        self.is_online = settings.state == "online"
        self.speaks_pop3 = settings.prot == POP3
        self.asks_for_mail = settings.prot == "CXPOP"
        """By UDP, before it is connected to."""
        self.says_user = settings.login == USER
        """Users are logged in there by USER and PASS."""
        self.trusts_us = settings.login in OURS_ALONE
        """It lets in whom we name."""
        self.in_clear = settings.tls == OFF
        self.tells_stls = settings.tls == STARTTLS
        self.is_introduced = settings.sendproxy != OFF
        """It is told the client's address by a PROXY header."""
        self.names_client = settings.xclient
        """It is told that by XCLIENT."""
        self.absorbs = settings.absorb > 0
        self.connect_seconds = settings.connecttimeout or seconds[0]
        self.login_seconds = settings.logintimeout or seconds[1]
        """How long the login may take when the connection stands."""
        self.patience = max(0.0, self.login_seconds - self.connect_seconds)
        self.announced = announced
        self.health = health
        """How well it is; None where a route or a referral names a server, which is not the backend itself."""
        self.rejections = rejections
        self.reach = reach
        """Which of its addresses is tried first; None where it has but one."""
        self.admission = admission
        self.check_sockets = check_sockets
        """The sockets by which it is asked for mail; None where each question has one of its own (mail_race.py)."""
        self.connect_durations = connect_durations
        """How long it takes to connect; None where nothing is connected to."""
        self.login_durations = login_durations
        self.note_affected = note_affected
        """Is told of whom its failures are, by namespace and user; None where nobody keeps that."""

    def elsewhere(self, settings: Backend) -> "BackendRuntime":
        """One that is like this one, at another place: how well that is nobody knows."""
        return BackendRuntime(
            settings,
            (self.connect_seconds, self.login_seconds),
            announced=self.announced,
            rejections=self.rejections,
            reach=self.reach if settings.host.further else None,
            admission=self.admission,
            connect_durations=self.connect_durations,
            login_durations=self.login_durations,
            note_affected=self.note_affected,
        )

    def placed(self, server: tuple[str, int]) -> "BackendRuntime":
        """A server that is like this backend."""
        settings = placed_at(server, self.settings)
        assert settings is not None
        return self.elsewhere(settings)
