"""Using a model: chat, batch generation, export."""
