"""Where listening sockets come from: bound here, lent by ringd, or passed by systemd."""
