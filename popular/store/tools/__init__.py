"""The small programs beside `pserv`: pcheckd, pcheck, pdeliver, pclean.

commandline  what their command lines have in common
datagrams    answers UDP in several processes
hosts        hosts on command lines
pcheck       asks a pcheckd
pcheckd      tells proxies whether there is mail
pclean       removes what broken deliveries left
pdeliver     puts a mail into a mailbox
"""
