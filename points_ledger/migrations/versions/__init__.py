"""One module a revision; each says whether it runs before or after the new code."""
