"""What a token costs: programs that measure the gateway and the model service.

Everything here is a program of its own, on real sockets, that can be started by hand as well::

    python -m bench.hot_path    instructions a token: the same on every machine, held by a test

The modules, in the order in which they are imported::

    wire        both sides of a gRPC call without IO
    hot_path    counts instructions
"""
