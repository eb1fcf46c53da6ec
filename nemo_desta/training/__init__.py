"""Training inside NeMo's trainer."""
