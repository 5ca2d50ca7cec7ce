"""POP3 as values: bytes and facts in, bytes and facts out. No sockets, clock, log, files or event loop in here.

capabilities   what CAPA answers
clienthello    the first message of a TLS client
commands       the commands of POP3, one row each
conversation   what is said after the login, taken apart
dotstuff       mail as it goes over the wire
international  UTF8 and LANG
lines          a byte stream as lines
mailcheck      is there mail? one UDP packet asks, one answers
printable      text of others as it may be shown
proxyheader    the PROXY protocol's header
replies        reply lines
sasl           SASL as a client of POP3 meets it
scram          SCRAM-SHA-256 as its server
shown          a login as it may be shown
transaction    the TRANSACTION state over a maildrop
watch          whether a client has said QUIT, and was answered
xpop           a mailbox opened without a password
"""
