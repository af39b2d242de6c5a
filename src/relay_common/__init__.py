"""What the programs of the relay share, and nothing about models or HTTP.

``cli`` reads settings, or says in one line what is wrong with them. ``log`` writes lines.
``secrecy`` keeps keys out of them.
``running`` runs a program until a signal. ``errors`` is how a program fails to start.
"""
