"""HTTP in front of the relay: routes, prompts, the page, and what is recorded."""
