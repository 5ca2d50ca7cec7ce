"""The sentences of `pproxy`: those of every program, and vserv, backend, pdm, capa, prng."""

from collections.abc import Sequence
from dataclasses import dataclass

from popular.proxy import capabilities, certificates, modules
from popular.proxy.backend import BACKEND
from popular.proxy.vserv import VSERV
from supervisor.config import Config
from supervisor.control import things
from supervisor.control.kinds import File, Int
from supervisor.control.language import Refused, Sentence, phrase
from supervisor.control.outcome import Arguments, Change, Desk, Outcome
from supervisor.control.sentences import common_sentences

PRNG_CHAPTER = "Runtime configuration: the prng command"

SORTS = ("prng", "capa", "backend", "pdm", "vserv", certificates.SORT)
"""The sorts of things in a config, in the order in which an rc file makes them."""

LIMITS = {"vserv": 32, "backend": 32}

_SEED_OCTETS = 1024
_MOST_SEED_OCTETS = 1_048_576


@dataclass(frozen=True)
class Seed:
    """A file that the TLS generator was seeded from, and how many octets were taken."""

    id: str
    octets: int


def _prng(desk: Desk, arguments: Arguments) -> Outcome:
    filename, octets = arguments["filename"], arguments["bytes"] or _SEED_OCTETS
    seed = desk.facts.read(filename, octets)
    if len(seed) < octets:
        raise Refused(f"{filename} holds only {len(seed)} octets; {octets} are wanted")
    config = desk.config.with_thing("prng", filename, Seed(filename, octets))
    return Change(f"the generator is fed with {octets} octets of {filename}", config=config, seed=seed)


def prng_sentence() -> Sentence:
    """The row of `prng`."""
    return Sentence(
        "prng <filename> [<bytes>]",
        _prng,
        f"Feeds octets of a file to the random number generator of TLS ({_SEED_OCTETS} if no number is said).\n"
        "Not needed for security: the generator is seeded by the operating system, and this only adds to it.",
        {"filename": File(), "bytes": Int(1, _MOST_SEED_OCTETS)},
        changes=True,
        source=PRNG_CHAPTER,
    )


def rc_lines(config: Config) -> list[str]:
    """The sentences that make all things of a config anew, in an order that works."""
    return [
        *(phrase(["prng", seed.id, str(seed.octets)]) for seed in config.things["prng"].values()),
        *capabilities.rc_lines(config),
        *things.rc_lines(BACKEND, config),
        *modules.rc_lines(config),
        *things.rc_lines(VSERV, config),
    ]


SENTENCES: Sequence[Sentence] = (
    *common_sentences(),
    *things.sentences_of(VSERV),
    *things.sentences_of(BACKEND),
    *modules.pdm_sentences(),
    *capabilities.capa_sentences(),
    *certificates.tls_sentences(),
    prng_sentence(),
)
