"""Floor 3: the aiohttp server side."""
