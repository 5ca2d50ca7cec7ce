"""The master's end of the control socket: who speaks, what he may say, octets ⇄ requests and replies.

access  who may say what
peer    who is at the other end
server  the master's end of the control socket, and bytes ⇄ requests and replies
"""
