"""The bot of the contract tests, for the client of asyncio."""

import asyncio
import json
import os

import multibot


def log(**fields):
    with open(os.environ["CONTRACT_LOG"], "a") as file:
        file.write(json.dumps(fields) + "\n")


def note(message):
    fields = {"id": message.id, "name": message.name, "attempt": message.attempt, "from": message.sender}
    fields.update(kind=message.kind, priority=message.priority, order_key=message.order_key, history=message.history)
    log(**fields, correlation_id=message.correlation_id)


async def noted(message):
    note(message)
    await message.ack()


def echo(message):
    note(message)
    return message.payload


async def refuse(message):
    note(message)
    payload = message.payload
    after, permanent = payload.get("retry_after"), payload.get("permanent", False)
    await message.fail(payload["message"], retry_after=after, permanent=permanent)


async def hang(message):
    note(message)
    if message.attempt == 1:
        await asyncio.Event().wait()


async def flaky(message):
    note(message)
    if message.attempt == 1:
        raise ValueError("not yet")
    return {"text": "done at last"}


async def later(message):
    note(message)
    if message.id not in seen:
        seen.add(message.id)
        await message.fail("busy", retry_after=0.2)


async def wait(message):
    note(message)
    while not os.path.exists(os.environ["CONTRACT_GATE"]):
        await asyncio.sleep(0.01)
    await message.ack()


async def broken(message):
    note(message)
    raise ValueError("no such price")


seen = set()


async def main():
    bot = multibot.AsyncClient()

    async def forward(message):
        fields = {"order_key": "chat-1", "dedup_key": "d-1", "priority": 3, "expires_in": 60}
        await bot.send("news", "send_message", {"text": "hello"}, **fields)
        await message.ack()

    async def who(message):
        user, command = message.payload["user"], message.payload["command"]
        return {"is_admin": bot.is_admin(user), "allowed": bot.allowed(command, user)}

    async def many(message):
        count = message.payload["count"]
        await bot.post_many([{"name": "counted", "payload": {"number": number}} for number in range(count)])
        await message.ack()

    async def on_shutdown(mode, deadline):
        log(name="on_shutdown", mode=mode, deadline=deadline)

    async def status():
        return {"connected": True}

    await bot.ready()
    await bot.run(
        {"note": noted, "send_message": echo, "fail": refuse, "hang": hang, "wait": wait, "broken": broken,
         "forward": forward, "many": many, "flaky": flaky, "later": later, "who": who},
        on_shutdown=on_shutdown,
        on_restart_connection=lambda: log(name="on_restart_connection"),
        on_refresh_credentials=lambda credentials, fields: log(
            name="on_refresh_credentials", fields=fields, credentials=credentials
        ),
        on_response=note,
        status=status,
        heartbeat=0.05,
        sigterm="CONTRACT_SIGTERM" in os.environ,
    )


asyncio.run(main())
