"""Hosts on the command lines of `pcheck` and `pcheckd`: refused where the control language refuses them too."""

import argparse
import ipaddress

from supervisor.control.language.lookups import Unfit, check_host_name


def host_or_address(text: str) -> str:
    """An option's type: a host name, or an address that everybody reads as the same one."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        try:
            check_host_name(text)
        except Unfit as unfit:
            raise argparse.ArgumentTypeError(f"{text!r}: {unfit}") from None
    return text
