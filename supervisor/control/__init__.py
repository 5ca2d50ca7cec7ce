"""The control language: what an operator may say to a running program, and how it is carried to it.

    lookups       what a handler needs to know from outside, and the job that finds it out
    kinds       the types of values: parse, show, describe, complete
    language    words, commands, and which command a line is
    outcome     what a handler gives back, and what it may see
    variables   rows of `show` and `set`
    things      named things with parameters (`vserv conf …`, `backend conf …`)
    difference  the config as an rc file, and what differs between two
    draft       the commands about whole configurations
    commands   the commands that every program has
    framing     bytes ⇄ requests and replies (pure)
    server      the master's end of the control socket
    connection  a client's connection
    client      `pcontrol`
    prompt      its prompt
    applying    `pcontrol check` and `apply`
    manual      manual pages, made from the tables

Handlers, tables and framing are pure: a handler takes a context and arguments and gives back an outcome, and the master does the
rest.
"""
