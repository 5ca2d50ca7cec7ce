"""The dashboards, made from the table of metrics: `python -m deploy.grafana` writes them into `dashboards/`.

overview.py, backends.py and workers.py say what is shown: a board is rows of panels (panels.py), a panel is expressions
over the metric families (queries.py). Titles and notes are all that is written there by hand, the rest of a description
is the families' own help. classic.py makes the JSON that Grafana reads from files.
"""
