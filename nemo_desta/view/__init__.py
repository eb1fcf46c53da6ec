"""One HTML page of sampled records with their audio: `nemo-desta view`."""
