"""The flight recorder: which sessions are recorded, what of them, and how people read it.

inforce               which traces there are, as far as each new session looks
kept_lines            what is kept of a session, written as lines when somebody wants to read it
recorded_lines        the lines of a client, one by one: what each is, the machine knows
recorder              who is traced
recording             what one session has said, and whether anybody wants it
trace_writer          the file of a trace
traceable_session     a session that tells of itself
transcript            what people read
unremarkable_session  nothing is made for a session while it is unremarkable
"""
