"""The schema ``points``, revision by revision; the SQL of each stands in ``sql`` beside it."""
