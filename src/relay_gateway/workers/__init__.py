"""Several processes that serve on one socket, and one that looks after them.

``relay-gateway --workers 4`` runs it. In the order in which a reader would want them:

``supervisor``
    starts the workers, replaces one that ends, and stops all of them.
``process``
    one worker, as the supervisor sees it: a process and a link to it.
``worker``
    the program that a worker runs: the gateway, by orders that come over the link.
``link``
    messages between the two.
``figures``
    the metrics of several processes as those of one.

The supervisor opens the listening socket and every worker inherits it. So a connection that waits
to be accepted belongs to no worker: when one dies, another accepts it. With a socket for each
worker (SO_REUSEPORT), the kernel would reset what waits at a socket that is closed.
"""
