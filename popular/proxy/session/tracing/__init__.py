"""The flight recorder: which sessions are recorded, what of them, and how people read it.

client_lines          the lines of a client, one by one: what each is, the machine knows
session_trace         what one session has said, and whether anybody wants it
trace_buffer          what is kept of a session, written as lines when somebody wants to read it
trace_filter          which traces there are, as far as each new session looks
trace_registry        who is traced
trace_writer          the file of a trace
traceable_session     a session that tells of itself
transcript            what people read
unremarkable_session  nothing is made for a session while it is unremarkable
"""
