"""Foreign checkpoints as networks and facts of ours; nothing in them is executed."""
