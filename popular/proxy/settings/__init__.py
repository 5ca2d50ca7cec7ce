"""What is configured of the proxy: things, variables and commands of the control language.

accounts         who a user is before he logs in
announced        the record of what a backend announces
backend          backends
backend_checks   what must not be in one
blocking         `block`, `unblock`, `report limits`
capabilities     `capa`
cluster          several proxies that count together
commands         all commands of `pproxy`
description      what a watcher may know of a config
drift            the record of what a backend lacks
explain          `explain`
health           the record of how well a backend is
healthuser       the record of a mailbox that is not let in
kinds            kinds that only the proxy has
lastlogins       `users last`, `users export`
leading          what `user move` has a module know
limits           the limits on those who log in
mechanisms       the ways to log in that are allowed
modulefiles      the files that modules are made of
modules          `pdm`
moduleterms      on what terms modules are asked
moving           `user move`, `user unmove`
moving_together  what a move does at the other proxies
operating        drains, kicks, holds, locks, `state list`
order_sorts      the sorts of orders about logins
order_sweeps     which sessions are to end by orders that were said elsewhere
pairs            pairs of a word and a value
reports          `report cleartext`, `report tls`
resolving        `backend resolve`, `backend lookup`
secretfiles      secrets of the configuration
standing         what the operator has made of each thing, for watchers
tracing          `trace`
unheeded         orders that cannot be carried out
variables        the variables that only `pproxy` has
vserv            virtual servers
"""
