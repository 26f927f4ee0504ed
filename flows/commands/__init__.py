"""The commands of ``loyalty`` that are not jobs: one module per noun, each a few thin ``click`` commands."""
