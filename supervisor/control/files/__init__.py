"""What is said as files: a whole configuration, one that was in force.

historyfile  a configuration that was in force
rcdisk       reads it
rcfile       a file of commands, pure
"""
