"""Steps of the jobs. A task opens one transaction, calls one verb, and returns plain values."""
