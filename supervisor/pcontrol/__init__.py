"""`pcontrol`: says commands to a running program over its control socket.

    apply       the subcommands about a whole file
    connection  commands said over a connection, one by one
    hosts       one command at several proxies
    main        the command
    options     the command line
    prompt      history, completion, a few words of its own
    secret      a secret for the command that follows

It lives for a tenth of a second, so whatever not every call needs is imported where it is needed.
"""
