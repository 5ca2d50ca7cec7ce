"""What a program has at hand in a worker: event loop, wheel of deadlines, counters, and its rows of the table."""
