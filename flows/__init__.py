"""Jobs: the order of steps, nothing else. One flow a module; the command line lives in ``commands``."""
