"""Models of providers, through the providers' own libraries."""
