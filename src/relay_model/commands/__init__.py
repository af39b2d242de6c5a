"""The commands beside the service: ``ask`` and ``backends``."""
