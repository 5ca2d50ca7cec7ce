"""Watches: reads the session table, never writes it, and shows it.

collector    /metrics: the program's rows with their numbers
detail       the page of one thing
duration     how long something has lasted, for people
exporter     the exporter process: answers HTTP
failures     the last failures of each thing
headline     the state of a program in one line
history      the last minutes, for the small graphs of the status page
http         octets ⇄ requests and answers of HTTP
ink          lines of a terminal in inks
kicking      the key that kicks, in the live table
latency      how long something takes, from a histogram
listing      a picture of a state file as text or JSON
live         the live table of `pstatus -l`
page         the status page
picture      what `pstatus` reads
processes    the processor time of a program
programseen  the program as the exporter sees it at a moment
pstatus      the program `pstatus`
selection    which sessions are shown, in which order, and how much of a name
servers      whether clients are let in
silence      who gives no sign of life
snapshot     what the status page shows, as one value
terminal     a terminal that belongs to us for a while
thinglines   configured things as lines of text
things       what is to be seen of a configured thing, from the table alone
trouble      what goes wrong while clients are served
watch        a table under observation, for the status page
"""
