"""Lhotse recipes of nemo_desta: one corpus a file, two functions each, and their command group (`desta-lhotse`)."""
