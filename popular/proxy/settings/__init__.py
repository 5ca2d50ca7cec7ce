"""What is configured of the proxy: things, variables and commands of the control language."""
