"""What the programs of the relay share. It knows nothing about models or HTTP.

``errors``
    how a program fails to start.
``cli``, ``target``
    read settings, or say in one line what is wrong with them.
``log``, ``redact``, ``trace``
    write log lines, without keys, with the trace that a request belongs to.
``running``, ``gc_tuning``
    run a program until a signal, with a garbage collector set for a server.

For example, every program has this shape::

    settings = parse_settings(ModelSettings)
    configure_logging(settings)
    return run(partial(serve, settings))
"""
