"""Conversations, the dataset, and the batch contract."""
