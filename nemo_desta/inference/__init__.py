"""What the console does with a trained model: chat, answer a file, export."""
