"""What must be true of the data: the checks on the ledger and who owns them."""
