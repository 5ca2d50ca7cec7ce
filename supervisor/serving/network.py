"""Which clients count as one where one must not take too much from the others. Pure."""

import ipaddress


def network_of(address: str) -> str:
    """The network of an address (numeric text): the /32 of IPv4, the /64 of IPv6. That much one client can have."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
