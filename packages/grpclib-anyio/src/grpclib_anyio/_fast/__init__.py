"""Shortcuts past a library. Each is optional: the same tests pass with and without it.

===================  ==============================================  ===========================
module               what it saves                                   how it is switched off
===================  ==============================================  ===========================
``received_frames``  an h2 event for each plain DATA frame and       the configuration's
                     PING, and for usual response HEADERS            ``reads_data_past_h2=False``
``sent_frames``      an h2 frame object for each HEADERS, DATA and   ``Http2.send`` calls h2's
                     RST_STREAM that is sent                         own methods instead
``hpack_cache``      hpack's walk over its table for each header     ``Http2`` uses hpack's
                     that is in the table already                    classes instead
``trio_stream``      a read before each wait, a checkpoint after     ``unwrap_socket`` returns the
                     each write, a task for a reset                  stream that it is given
===================  ==============================================  ===========================

``received_frames`` is switched by configuration. The others are switched in the one place that the
table names, because nothing else knows of them. ``hpack_cache`` can only be switched off together
with ``received_frames``, because that remembers responses by its blocks.
"""
