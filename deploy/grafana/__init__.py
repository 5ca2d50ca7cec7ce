"""The dashboards, made from the table of metrics: `python -m deploy.grafana` writes them into `dashboards/`.

boards.py says what is shown, queries.py makes PromQL of it, classic.py makes the JSON that Grafana reads from files.
"""
