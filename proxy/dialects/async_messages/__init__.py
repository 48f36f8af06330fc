"""The async messages API of PrivateGPT: `app.py` has the endpoints, `translation.py` what a generation says.

Sources: PrivateGPT's API reference and server source; Anthropic's Messages API for the shapes of requests and events.
"""
