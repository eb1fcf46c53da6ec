"""Conversations, the dataset, and the batch contract. Importing this imports nothing heavy."""
