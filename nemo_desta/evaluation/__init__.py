"""Evaluation: held-out losses and closed questions, each number with its interval."""
