"""What a token costs: programs that measure the gateway and the model service.

Everything here is a program of its own, on real sockets, that can be started by hand as well::

    nox -s bench                time and memory, beside peers; nox -s bench -- --help says more
    python -m bench.hot_path    instructions a token: the same on every machine, held by a test

The modules::

    wire            both sides of a gRPC call without IO
    lockstep, scripted, hot_path        count instructions
    work            what a run asks of a model
    token_source, browsers, load        around a gateway: programs of their own
    peers           what is measured beside ours
    own_model, grpc_load                our model service, and what reads from it
    programs, measure, plan             start programs, measure one run, list all runs
    results, tables, plots, document    what comes out
"""
