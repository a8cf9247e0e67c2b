"""nono: large volumes of LLM requests through the providers' Batch APIs, at half the price."""

__version__ = "0.1.0"
