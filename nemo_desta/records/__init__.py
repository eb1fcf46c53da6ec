"""What is done with finished records: pack them with their audio, import released ones, look at them."""
