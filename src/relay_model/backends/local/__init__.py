"""llama.cpp in this process.

``llama`` is the engine, ``llama_answer`` one answer of it, and ``backend`` combines the two.
For example ``relay-model --backend local`` answers with the SmolLM2 that is installed.
"""
