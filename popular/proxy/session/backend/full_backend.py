"""A backend with `maxsessions`: while it is full its logins go to its backup, as while it is down."""

from popular.proxy.session.backend.backend_admission import FULL, BackendAdmission, BackendPlaces
from popular.proxy.session.backend.contracts import NOT_NOW, BackendFailure, HealthKnowledge


class BoundedHealth(HealthKnowledge):
    """How well a backend is, and whether there is room at it (HealthKnowledge)."""

    def __init__(self, health: HealthKnowledge, places: BackendPlaces) -> None:
        self._health = health
        self._places = places

    def takes(self, address: str) -> int:
        """The room first: of a backend that recovers nobody is let through who then finds none."""
        return NOT_NOW if self._places.is_full() else self._health.takes(address)

    def failed(self, address: str, reason: str, *, user: str) -> None:
        """See BackendHealth."""
        self._health.failed(address, reason, user=user)

    def answered(self, address: str) -> None:
        """See BackendHealth."""
        self._health.answered(address)

    def came_to_nothing(self, address: str) -> None:
        """See BackendHealth."""
        self._health.came_to_nothing(address)

    def is_down(self) -> bool:
        """Full counts as down."""
        return self._places.is_full() or self._health.is_down()

    def is_mending(self) -> bool:
        """See BackendHealth."""
        return self._health.is_mending()

    def says(self) -> str:
        """That it is full, or what its health says."""
        return FULL.reason if self._places.is_full() and not self._health.is_down() else self._health.says()

    def why_not(self) -> BackendFailure:
        """That it is full, or what its health says."""
        return FULL if self._places.is_full() else self._health.why_not()


def bounded(health: HealthKnowledge, admission: BackendAdmission) -> HealthKnowledge:
    """The health of a backend, which is down too while it is full; where there is no limit the very same object."""
    return BoundedHealth(health, admission.places) if admission.places.is_limited() else health
