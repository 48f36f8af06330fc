"""A plain aiohttp pass-through, a process of its own: what a hop in this framework costs without doing anything.

`python hop.py PORT UPSTREAM_PORT`.
"""

import asyncio
import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

NOT_PASSED = frozenset({"transfer-encoding", "connection", "keep-alive", "server", "date"})


async def _main(port: int, upstream: int) -> None:
    connector = TCPConnector(limit=0, limit_per_host=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.read()
            headers = {"Content-Type": request.headers.get("Content-Type", "")}
            url = f"http://127.0.0.1:{upstream}{request.raw_path}"
            async with session.request(request.method, url, data=body, headers=headers) as answer:
                kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in NOT_PASSED]
                response = web.StreamResponse(status=answer.status)
                response.headers.extend(kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response

        runner = web.ServerRunner(web.Server(handle, handler_cancellation=True, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=8192).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2])))
