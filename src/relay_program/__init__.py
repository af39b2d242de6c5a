"""What the programs of the relay share, and nothing about models or HTTP.

``cli`` reads settings, or says in one line what is wrong with them. ``log`` writes lines.
``running`` runs a program until a signal. ``errors`` is how a program fails to start.
"""
