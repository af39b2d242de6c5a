"""gRPC on trio and asyncio: grpclib's ``Channel`` and ``Server`` on anyio.

``grpclib_anyio.client`` and ``grpclib_anyio.server`` take the place of ``grpclib.client`` and
``grpclib.server``. The modules, from the wire up::

    errors, flow_control, floods, metadata, config, wakeup
    compression                         gzip, bounded
    framing                             messages in DATA frames
    http2, keepalive                    h2 and PING
    slots                               how many streams there may be
    message_stream                      one call's messages
    connection                          one HTTP/2 connection: its tasks and its streams
    tls                                 the handshake
    backoff, connector                  the connection of a channel, made and remade
    replay                              what makes a call again that was not processed
    response                            what a response's headers say
    client_call, client                 calls and the channel
    betterproto_stubs                   generated stubs on that channel
    drain                               how a server lets go of a connection
    server_call, server                 handlers and the server
"""
