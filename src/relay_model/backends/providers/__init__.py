"""Models that a provider runs, through the provider's own library.

For example ``relay-model --backend openai --model gpt-5.6``; ``docs/backends.md`` lists providers.
"""
