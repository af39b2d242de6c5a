"""What a token costs: programs that measure the gateway and the model service.

Each program runs in a process of its own, on real sockets. You can start one by hand, for example::

    nox -s bench                time and memory, with peers; see nox -s bench -- --help
    python -m bench.hot_path    instructions per token: the same on every machine, held by a test

The modules::

    wire            both sides of a gRPC call without IO
    lockstep, scripted, hot_path        count instructions
    work            what a run asks of a model
    token_source, browsers, load        around a gateway: programs of their own
    peers           what ours is compared with
    own_model, grpc_load                our model service, and what reads from it
    programs, measure, plan             start programs, measure one run, list all runs
    results, tables, plots, document    what comes out
"""
