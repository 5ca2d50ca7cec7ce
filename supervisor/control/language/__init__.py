"""Which command a line is, the types of its values, and what its handler sees and gives back. Pure.

context    what a handler may see, and the rows of variables and commands
inforce    since when a configuration is in force
kinds      the types of values: parse, show, describe, complete
language   which command a line is, and what it gives
lookups    what a handler needs to know from outside, and the job that finds it out
outcome    what a handler gives back
replytext  a reply as people read it
shape      the pattern of a command
"""
