"""Where the rules of a virtual server lie: in the compiled form each at a place of its own, with a type."""


class TypedRules:
    """What `Rules` derives from. A rule that is not named here works too; to look at it takes longer."""

    __slots__ = (
        "apop",
        "backends",
        "checktimeout",
        "connecttimeout",
        "defaultns",
        "fallback",
        "greeting",
        "maxcommands",
        "namespace",
        "offers",
        "protocol",
        "state",
        "trusted",
        "vserv",
    )
