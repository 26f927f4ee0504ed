"""The command line, one module a noun. Commands say what happened in plain words; ``--json`` says it to machines."""
