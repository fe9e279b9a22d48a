"""Networks, their losses, and checkpoints."""
