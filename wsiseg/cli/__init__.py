"""The command line: parsing, logging, progress bars and exit codes, and no arithmetic."""
