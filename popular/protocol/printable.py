"""Text of others as it may be shown to people. Pure."""


def printable(text: str) -> str:
    """In one line, whatever somebody else has put into it: nothing moves a cursor."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
