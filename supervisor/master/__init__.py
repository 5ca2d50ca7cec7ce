"""The parent process: one thread, one loop; owns sockets, table and configuration, and never blocks."""
