"""The small programs beside `pserv`: pcheckd, pcheck, pdeliver, pclean."""
