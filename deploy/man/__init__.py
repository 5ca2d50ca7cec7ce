"""The manual pages, made from the tables: `python -m deploy.man` writes them beside this file."""
