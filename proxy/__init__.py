"""Quell: a reverse proxy in front of LLM APIs with a stop that truly stops.

The house has five floors; a file imports from its own folder or from a lower floor
(`pyproject.toml` holds that as a contract):

    4  app/, cli/, __main__, demo/     composition root, the commands, the demo upstream
    3  edge/, dialects/                the aiohttp server side; one file per client-facing API
    2  engine/                         registry, relay, tape, canceller, settler: asyncio, no HTTP server
    1  stores/, wire/, config_file/    ledger; the providers' byte formats; reading the settings
    0  core/                           pure: no asyncio, no clock, no socket, no logging

Five nouns carry it. A *generation* is one admitted model call. The *relay* moves its bytes from upstream to the
*readers*. The *tee* keeps what went by, the *tape* is what readers are served from. The *ledger* has the record.
"""

__version__ = "0.1.0"
