"""What nono costs in time and memory, measured against plain loops and the official SDKs in the same run."""
