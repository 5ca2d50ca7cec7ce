"""`pcontrol`: says commands to a running program over its control socket.

It lives for a tenth of a second, so whatever not every call needs is imported where it is needed.
"""
