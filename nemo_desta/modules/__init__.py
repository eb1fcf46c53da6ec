"""Building blocks in plain PyTorch and transformers: encoder, connector, perception, transcriber."""
