"""The master's loop: times come in order, and those that were cancelled cost nothing."""

from tests.supervisor.turning import closed_loop, turn_until


def test_times_come_in_order_and_once() -> None:
    """Also among many, of which most were cancelled; equal ones in the order in which they were asked for."""
    happened: list[int] = []
    with closed_loop() as loop:
        for number in range(300):
            timer = loop.after((number % 3) * 0.02, lambda number=number: happened.append(number))  # type: ignore[misc]
            if number % 10:
                timer.cancel()
        turn_until(loop, lambda: len(happened) >= 30)
    assert happened == sorted(range(0, 300, 10), key=lambda number: number % 3)


def test_cancelled_times_are_forgotten() -> None:
    """A time in the distant future, cancelled at once, ten thousand times: they are not kept until then."""
    with closed_loop() as loop:
        for _ in range(10_000):
            loop.after(86_400, lambda: None).cancel()
        assert len(loop._timers) < 100
