"""What may be told of an error of ours: its kind and its place. Its text could hold a value that is a secret."""


def location_of(error: BaseException) -> str:
    """File and line where it was raised, as "session.py:146"; "?" if it never was."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else "?"


def kind_and_location_of(error: BaseException) -> str:
    """As "KeyError at session.py:146"."""
    return f"{type(error).__name__} at {location_of(error)}"
