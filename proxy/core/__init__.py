"""Floor 0: pure rules and types. No asyncio, no clock, no socket, no logging."""
