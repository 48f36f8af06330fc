"""The commands of tutorial and how-tos, as one types them, against a program that runs."""

import asyncio
import csv
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.demo.upstream import start_demo_upstream
from support.documents import DOCS, block, blocks, said_by, start, the_demo
from support.program import Program, running_program
from support.wait import eventually, within

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

SAW = re.compile(r"saw the close of chatcmpl-demo-\S+ after \d+ of 2000 tokens")
SHORT = "demo@tokens=5,per_second=1000"


def shown(page: str, first: str) -> str:
    """The file that a page shows, by its first line."""
    (found,) = [each.text for each in blocks(DOCS / page) if each.text.startswith(f"{first}\n")]
    return found


def a_call(**headers: str) -> str:
    """A call that makes five tokens, as a command."""
    sent = " ".join(f"-H '{name.replace('_', '-')}: {value}'" for name, value in headers.items())
    body = json.dumps({"model": SHORT, "messages": [{"role": "user", "content": "Say."}]})
    return f"curl -s http://127.0.0.1:8484/v1/chat/completions {sent} -d '{body}'"


async def test_the_tutorials_stops(tmp_path: Path) -> None:
    """Step 2 stops the story by its id, twice and as a stranger; step 3 finds one as the operator and stops it."""
    async with the_demo(tmp_path) as program:
        said = (await said_by(program, block("tutorial-stop"))).decode()
        again = (await said_by(program, block("tutorial-again"))).decode()
        operator = (await said_by(program, block("tutorial-operator"))).decode()
        await eventually(lambda: len(SAW.findall(program.log())) == 2, what="the upstream has said that it saw both")
    assert '"result": "stopped"' in said
    assert '"reason": "the tutorial"' in said or "task_id=story-1 cause=client" in said
    assert said.count("data: [DONE]") == 1
    assert again.count('"task_id": "story-1"') == 1
    assert again.count('"not_found"') == 1
    assert "ben" in operator
    assert "upstream closed" in operator


async def test_all_of_a_user_is_stopped_as_the_page_types_it(tmp_path: Path) -> None:
    """Everything of the end user stops, another's goes on, the record says why, and the stream can be read again."""
    body = '{"model":"demo@tokens=2000","stream":true,"messages":[{"role":"user","content":"Tell."}]}'
    call = f"curl -sN http://127.0.0.1:8484/v1/chat/completions -d '{body}'"
    async with the_demo(tmp_path) as program:
        hers = await start(program, "sh", "-c", f"{call} -H 'X-User-Id: ann' -H 'X-Task-Id: chat-42'")
        his = await start(program, "sh", "-c", f"{call} -H 'X-User-Id: ben'")
        assert hers.stdout is not None
        assert his.stdout is not None
        for stream in (his.stdout, hers.stdout):
            for _ in range(25):
                await within(stream.readuntil(b"\n\n"), "the stream goes on")
        said = (await said_by(program, block("stop-many"))).decode()
        ended, _ = await hers.communicate()
        goes_on = await within(his.stdout.readuntil(b"\n\n"), "the other stream goes on")
        his.kill()
        await his.wait()
    stopped, record, events = re.split(r"(?<=})(?=\{)|(?<=})\n?(?=id: 21)", said, maxsplit=2)
    assert (json.loads(stopped)["stopped"], json.loads(stopped)["count"]) == (["chat-42"], 1)
    assert json.loads(record)["reason"] == "she asked for it"
    assert events.startswith("id: 21\n")
    assert "data: [DONE]" in events
    assert ended.endswith(b"data: [DONE]\n\n")
    assert goes_on


async def test_the_doctor_says_that_all_is_well(tmp_path: Path) -> None:
    """The command of the page about terminals finds nothing wrong with the demo's own address."""
    async with the_demo(tmp_path) as program:
        said = (await within(said_by(program, block("doctor")), "doctor ends", 60.0)).decode()
    assert {line.split()[0] for line in said.splitlines()} == {"ok"}, said
    assert "early disconnect" in said


@asynccontextmanager
async def a_program_with_prices(folder: Path) -> AsyncIterator[Program]:
    """What step 4 of the tutorial serves, in front of a demo upstream in place of one's own."""
    (folder / "prices.yaml").write_text(shown("tutorial.md", "# prices.yaml"))
    demo = await start_demo_upstream("127.0.0.1", 0)
    config = shown("tutorial.md", "# quell.yaml").replace("http://127.0.0.1:11434/v1", demo.base_url)
    ports = "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n"
    try:
        async with running_program(config + ports, folder) as program:
            yield program
    finally:
        await demo.stop()


async def test_the_tutorials_bill(tmp_path: Path) -> None:
    """Steps 4 and 5: the config is valid, its upstream is called, and the ledger says what that cost."""
    async with a_program_with_prices(tmp_path) as program:
        checked = (await said_by(program, block("tutorial-check"))).decode()
        for user in ("ann", "ben"):
            assert b"chat.completion" in await said_by(program, a_call(X_User_Id=user))
        bill = (await said_by(program, block("tutorial-bill"))).decode()
    assert "valid" in checked
    assert "ann,completed" in bill
    assert "all is well" in bill
    rows = list(csv.DictReader((tmp_path / "bill.csv").read_text().splitlines()))
    assert [(row["user"], row["usage_source"], bool(row["cost"])) for row in rows] == [
        ("ann", "upstream", True),
        ("ben", "upstream", True),
    ]


async def test_keys_are_made_and_used_as_the_page_says(tmp_path: Path) -> None:
    """A key that is made by the page's commands gets in, another one does not, and `only` holds for both."""
    made = await asyncio.create_subprocess_exec("sh", "-c", block("keys-make"), cwd=tmp_path)
    assert await made.wait() == 0
    demo = await start_demo_upstream("127.0.0.1", 0)
    config = shown("howto/keys.md", "# quell.yaml").replace("https://api.openai.com/v1", demo.base_url)
    config += "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n"
    secrets = {"OPENAI_API_KEY": "sk-x", "SEARCH_KEY_SHA256": "0123456789abcdef" * 4}
    try:
        async with running_program(config, tmp_path, env=secrets) as program:
            said = await said_by(program, block("keys-use"))
    finally:
        await demo.stop()
    assert said.split() == [b"200", b"401", b"403"]


async def test_the_commands_about_the_ledgers_file(tmp_path: Path) -> None:
    """`verify` and `purge` do what their page says while the proxy runs, `recover` when it has ended."""
    verify, purge, recover = (
        line.partition("  #")[0].partition(" # ")[0] for line in block("operate-ledger").splitlines()
    )
    async with a_program_with_prices(tmp_path) as program:
        await said_by(program, a_call())
        assert b"all is well" in await said_by(program, verify)
        assert b"0" in await said_by(program, purge)
    await said_by(program, recover)
    assert (tmp_path / "new.db").exists()


async def test_the_commands_of_the_bill(tmp_path: Path) -> None:
    """Sums, exports and later truths, as the page types them."""
    async with a_program_with_prices(tmp_path) as program:
        assert b"chat.completion" in await said_by(program, a_call())
        listed = json.loads(await said_by(program, "curl -s http://127.0.0.1:8484/v1/generations"))
        upstream_id = listed["data"][0]["upstream_id"]
        (tmp_path / "bill.csv").write_text(f"request_id,amount\n{upstream_id},0.5\n")
        said = {}
        for line in block("bill").splitlines():
            command = line.partition("  #")[0].strip()
            made = await start(program, "sh", "-c", command)
            out, err = await within(made.communicate(), command)
            said[command] = (made.returncode, out + err)
    assert [command for command, (code, _) in said.items() if code] == [], said
    assert (tmp_path / "june.csv").exists()
    assert json.loads((tmp_path / "records.jsonl").read_text().splitlines()[0])["upstream_id"] == upstream_id
    assert b"1" in next(out for command, (_, out) in said.items() if "reconcile" in command)
