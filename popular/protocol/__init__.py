"""POP3 as values: bytes and facts in, bytes and facts out. No sockets, clock, log, files or event loop in here."""
