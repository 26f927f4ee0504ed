"""The rules of the points ledger: its tables, its verbs, and the statements that run the nights.

What belongs here: the schema (``migrations``), set-based statements (``sql``), thin typed wrappers
over the verbs, and the order of a night. What does not: Prefect, files, the environment, the clock.
Every function takes a connection or an engine first, and its dates as arguments.

Words, one meaning each: a *member* has a *wallet*; an *entry* is one line of the ledger on one *lot*;
a *lot* is points earned together with one validity; a *journal* is the entries of one event;
a *business date* is a day in the programme's time zone; to *close* a day makes it final, to *seal*
it fingerprints it.
"""
