"""The control language: what an operator may say to a running program, and how it is carried to it.

The language itself:

    words        a line is words; what is wrong with one, and in which column
    lookups      what a handler needs to know from outside, and the job that finds it out
    kinds        the types of values: parse, show, describe, complete
    shape        the pattern of a command
    outcome      what a handler gives back
    context      what a handler may see, and the rows of variables and commands
    inforce      since when a configuration is in force
    language     which command a line is, and what it gives
    replytext    a reply as people read it

Its commands:

    commands     the commands that every program has
    variables    rows of `show` and `set`
    things          named things with parameters, as tables
    thing_commands  the commands about them (`vserv conf …`, `backend conf …`)
    draft        the commands about whole configurations
    history      those about the configurations that were in force
    generations  those about what still serves sessions
    helping      commands about commands: help, json, complete
    manual       manual pages, made from the tables

As files:

    rcfile       a file of commands, pure
    rcdisk       reads it
    historyfile  a configuration that was in force
    difference   the config as an rc file, and what differs between two

Over a socket:

    server       the master's end of the control socket, and bytes ⇄ requests and replies
    peer         who is at the other end
    access       who may say what

Handlers and tables are pure: a handler takes a context and arguments and gives back an outcome, and the master does
the rest.
"""
