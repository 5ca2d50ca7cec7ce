"""The control language: what an operator may say to a running program, and how it is carried to it.

    facts       what a deed needs to know from outside, and the errand that finds it out
    kinds       the types of values: parse, show, describe, complete
    language    words, sentences, and which sentence a line is
    outcome     what a deed gives back, and what it may see
    variables   rows of `show` and `set`
    things      named things with parameters (`vserv conf …`, `backend conf …`)
    difference  the config as an rc file, and what differs between two
    draft       the sentences about whole configurations
    sentences   the sentences that every program has
    framing     bytes ⇄ requests and replies (pure)
    server      the master's end of the control socket
    connection  a client's connection
    client      `pcontrol`
    prompt      its prompt
    applying    `pcontrol check` and `apply`
    manual      manual pages, made from the tables

Deeds, tables and framing are pure: a deed takes a desk and arguments and gives back an outcome, and the master does the
rest.
"""
