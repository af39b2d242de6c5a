"""What answers prompts; see ``protocol`` for what a backend is and ``registry`` for which there are."""
