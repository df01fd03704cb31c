"""The batch scheduler and its worker process: requests in, previews and images out. Knows nothing of HTTP."""
