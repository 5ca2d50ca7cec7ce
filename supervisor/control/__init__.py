"""The control language: what an operator may say to a running program, and how it is carried to it.

words     a line is words; what is wrong with one, and in which column

Its rooms, each of which may know those before it:

    files     what is said as files
    language  which command a line is, and what it gives
    commands  the commands that every program has, and the tables of which others are made
    wire      the master's end of the control socket (it and `commands` do not know each other)

Handlers and tables are pure: a handler takes a context and arguments and gives back an outcome, and the master does
the rest.
"""
