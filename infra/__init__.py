"""The outside world: settings, databases, files, the embedded services and the Prefect deployments.

Never imported by ``points_ledger``; knows nothing of the rules. Only ``settings`` reads the environment.
"""
