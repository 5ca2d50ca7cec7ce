"""The storage side: `pserv`, `pcheckd` with `pcheck`, `pdeliver`, and the extended Maildir that they share."""
