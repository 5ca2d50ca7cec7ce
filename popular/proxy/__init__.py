"""`pproxy`: virtual servers, backends, and the session between a mail program and a storage server.

backend_tls          TLS towards backends
backends_in_use      what sessions need of each backend under one config
cluster_order_store  orders that hold at all proxies of a cluster
lacking              what a service does without while a file cannot be used
last_login_store     the last login of each user, in a file
leases               what several proxies count together, at a server of Redis
metrics              its metrics
namesakes            two proxies of a cluster with one name
open_modules         the modules that are open
program              the program that the supervisor runs, put together from its tables
service              one configuration, ready to serve
storeseen            whether the store of a cluster's orders has gone back

Its rooms:

checks               whether backends are well: what the helper process does
session              one session, from the accept to its end
settings             what is configured: virtual servers, backends, modules, variables
"""
