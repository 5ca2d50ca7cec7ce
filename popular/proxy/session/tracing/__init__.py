"""The flight recorder: which sessions are recorded, what of them, and how people read it."""
