"""DeSTAModel and its checkpoints."""
