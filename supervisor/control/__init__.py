"""The control language: what an operator may say to a running program, and how it is carried to it.

    words       a line is words; what is wrong with one, and in which column
    lookups     what a handler needs to know from outside, and the job that finds it out
    kinds       the types of values: parse, show, describe, complete
    shape       the pattern of a command
    outcome     what a handler gives back
    context     what a handler may see, and the rows of variables and commands
    language    which command a line is, and what it gives
    variables   rows of `show` and `set`
    things      named things with parameters (`vserv conf …`, `backend conf …`)
    difference  the config as an rc file, and what differs between two
    draft       the commands about whole configurations
    commands    the commands that every program has
    rcfile      a file of commands, pure; rcdisk reads it
    server      the master's end of the control socket, and bytes ⇄ requests and replies
    manual      manual pages, made from the tables

Handlers and tables are pure: a handler takes a context and arguments and gives back an outcome, and the master does
the rest.
"""
