"""Limits on logins: what is counted, how fast somebody may guess, and the leases of a cluster (`cluster.py`).

    cluster          in a cluster: leases for those who are there
    cluster_listing  who is logged in here, as the cluster's list has it
    cluster_server   the cluster's server, as one worker asks it
    contracts        what the machine may ask
    counting         how many sessions somebody has, and when he may come again
    guesses          how fast somebody may guess, and what a failure costs him
    limit_entries    what is remembered of whom
    limit_usage      how far somebody is from each
    limits           the limits of one virtual server
    login_orders     what the operator has ordered about logins
    refusal_times    how long refusals take where several modules are asked

Contracts, both asked by the machine: `LoginLimits` (contracts) is kept by `Limits` and `NoLimits`; `LoginOrders`
(login_orders) by `WorkerOrders` and `NoOrders`; for `explain` both by classes of explain/foretold.py.
"""
