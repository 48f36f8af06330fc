from pathlib import Path
from support.faults import fault_bench
from support.scripts import sse_stream, events_then_hang
from support.chat import chat_events, text

async def test_x(tmp_path: Path) -> None:
    async with fault_bench(tmp_path, timeouts={"idle": "200ms"}) as bench:
        seen = await bench.call(events_then_hang(chat_events(3, done=False, finish=None)))
        print(seen)
        print(seen.ends, seen.error, seen.tokens, seen.errors)
        assert 0
