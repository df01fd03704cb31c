"""The HTTP front end: validates, admits, and fans each request's previews out to its watchers. Never imports torch."""
