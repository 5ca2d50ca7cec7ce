"""When a module is opened anew by itself."""

from popular.proxy.settings.modulefiles import (
    MINUTE,
    Former,
    LookAtModules,
    awaited,
    changed,
    lack_report,
    may_be_there_again,
    report_on,
)
from supervisor.config import Config


def test_what_could_not_be_opened_is_tried_again_with_each_minute() -> None:
    """Whatever it was that failed: there may be no file by which one could see that it is well again."""
    first = Config(0, {}, things={"pdm": {"m": None}})
    waits = report_on("m", 0, ["trouble"], skipped=0, files=awaited(first, "m"), takes=["password"], former=Former())
    lacks = lack_report("cluster", "trouble", "")
    config = Config(0, {}, things=first.things, reports=(waits, lacks))
    (minute,) = dict(waits.facts.files)[MINUTE]
    for found, again in (((minute,), False), ((minute + 1,), True)):
        assert bool(changed(config, {MINUTE: found})) == again
        assert bool(may_be_there_again(config, {MINUTE: found})) == again
    (now,) = LookAtModules((MINUTE,)).perform()[MINUTE]
    assert now - minute in (0, 1)
