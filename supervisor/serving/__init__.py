"""What a program has at hand in a worker: the event loop, the wheel of deadlines, counters, and its rows of the table."""
