"""Drivers: how a client of each dialect starts, reads and stops. The contract suite runs over all of them."""

from dialects.drivers import aitronos, anthropic, assistants, async_messages, dify, gemini, openai, responses
from dialects.drivers.base import Driver

DRIVERS: dict[str, Driver] = {
    module.DRIVER.name: module.DRIVER
    for module in (openai, responses, anthropic, gemini, dify, async_messages, aitronos, assistants)
}
