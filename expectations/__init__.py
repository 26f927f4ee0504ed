"""What must be true of the ledger: the catalogue of checks, and the two ways to run it in one snapshot.

``catalogue`` is data: what is checked, how bad it is, who owns it. ``runner`` runs it as bare SQL, which is what the night
does; ``suite`` runs it through Great Expectations, whose import costs seconds and is therefore left to the job that needs it.
What was found, and what follows from it, is kept by ``points_ledger.check_findings``.
"""
