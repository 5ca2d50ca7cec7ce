"""The parent process: one thread, one loop; owns sockets, table and configuration, and never blocks.

    accessfile     reads who may say what
    accounting     table and tokens, and what is recovered when a worker dies
    audit          one line of JSON for each change, and for each that was not let be made
    change         one change of the config at a time: tried by all workers, then taken by all
    child          how exporter and helper are born, told and missed
    executor       carries out commands
    exporter       the master's side of the exporter
    generations    since when each configuration is in force
    health         how well each configured thing did in the last minute
    helperprocess  the helper, where the program has one and the config wants it
    history        the configurations that were in force
    history_files  their files, as jobs
    jobs           short-lived children that do what might block
    keeping        keeps what the operator has ordered
    listeners      the listening sockets, one for each listener and slot, lent to the workers
    lost_sockets   the sockets in the run directory, made anew where somebody has deleted them
    master         puts the parts together and runs the loop
    move_command   the operator's command in a move
    moving         moves: something happens while nobody is there, and the way leads elsewhere after it
    order_keeping  an order on its way into force: kept, obeyed, its sessions swept
    origin         who says a command, and what is kept for him from one to the next
    performing     what a command orders beside a change of the configuration
    periodic       what the master says to itself every so many seconds
    policy         deaths of workers: what each is called, and when the slot gets its next worker
    pool           the slots and who sits in them: births, deaths, messages
    questions      what commands ask a worker
    recycling      `workers recycle`
    reopening      the files that are opened or read anew while the program runs
    rollback       the config to go back to, and whether it comes back by itself
    shutdown       the four variants of `shutdown`
    standing       what the operator has made of each configured thing, for readers of the table
    status         what the handlers of commands may see of the running program
    sweeping       sessions that are to be gone, gently
    tenure         whether a newer instance has what is kept
    vacancies      slots in which nobody serves, and who accepts their clients meanwhile
    watchdog       once a second: load, number of sessions, whether every worker's loop turns
    watchers       what those who watch are told: gauges, exporter, service manager
    whole          a whole configuration, said by the program itself as one draft

Contracts: `PoolEvents` (pool) and `ChangeEvents` (change) are kept by `Master`; `ChildEvents` (child) by `Exporter` and
`HelperProcess`; `Succession` (tenure) by `RunDirectory`.
"""
