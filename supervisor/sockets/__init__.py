"""Where listening sockets come from: bound here, lent by ringd, or passed by systemd.

    listener  a listening socket as a configuration wants it
    silence   makes one deaf to new connections
    sources   bound here, or lent
    systemd   systemd's side of a service

Contract: `Source` (sources) is kept by `Binding`, `Activated` (systemd) and ringd's client.
"""
