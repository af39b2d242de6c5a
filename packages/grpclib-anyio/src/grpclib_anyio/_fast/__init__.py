"""Shortcuts past a library, each optional: the same tests pass with and without it.

==================  ===================================================  ==========================
module              what it saves                                        how it is switched off
==================  ===================================================  ==========================
``received_frames`` an h2 event for each DATA frame, HEADERS and PING    ``reads_data_past_h2=False``
``sent_frames``     an h2 frame object for each frame of a call          call h2's own methods
``hpack_cache``     hpack's walk over its table for each known header    use hpack's classes
``trio_stream``     a read before each wait, a checkpoint a write        ``unwrap_socket`` returns
                                                                         the stream it is given
==================  ===================================================  ==========================
"""
