"""The bot of the contract tests, for the blocking client."""

import json
import os
import sys
import time

import multibot

bot = multibot.Client()


def log(**fields):
    with open(os.environ["CONTRACT_LOG"], "a") as file:
        file.write(json.dumps(fields) + "\n")


def note(message):
    fields = {"id": message.id, "name": message.name, "attempt": message.attempt, "from": message.sender}
    fields.update(kind=message.kind, priority=message.priority, order_key=message.order_key, history=message.history)
    log(**fields, correlation_id=message.correlation_id)


def noted(message):
    note(message)
    message.ack()


def echo(message):
    note(message)
    return message.payload


def refuse(message):
    note(message)
    payload = message.payload
    message.fail(payload["message"], retry_after=payload.get("retry_after"), permanent=payload.get("permanent", False))


def hang(message):
    note(message)
    while message.attempt == 1:
        time.sleep(1000)


def flaky(message):
    note(message)
    if message.attempt == 1:
        raise ValueError("not yet")
    return {"text": "done at last"}


def later(message):
    note(message)
    if message.id not in seen:
        seen.add(message.id)
        message.fail("busy", retry_after=0.2)


def wait(message):
    note(message)
    while not os.path.exists(os.environ["CONTRACT_GATE"]):
        time.sleep(0.01)
    message.ack()


def broken(message):
    note(message)
    raise ValueError("no such price")


def forward(message):
    bot.send("news", "send_message", {"text": "hello"}, order_key="chat-1", dedup_key="d-1", priority=3, expires_in=60)
    message.ack()


def many(message):
    bot.post_many([{"name": "counted", "payload": {"number": number}} for number in range(message.payload["count"])])
    message.ack()


def who(message):
    user, command = message.payload["user"], message.payload["command"]
    return {"is_admin": bot.is_admin(user), "allowed": bot.allowed(command, user)}


seen = set()
handlers = {
    "note": noted, "send_message": echo, "fail": refuse, "hang": hang, "wait": wait, "broken": broken,
    "forward": forward, "many": many, "flaky": flaky, "later": later, "who": who,
}
bot.ready()
bot.run(
    handlers,
    on_shutdown=lambda mode, deadline: log(name="on_shutdown", mode=mode, deadline=deadline),
    on_restart_connection=lambda: log(name="on_restart_connection"),
    on_refresh_credentials=lambda credentials, fields: log(
        name="on_refresh_credentials", fields=fields, credentials=credentials
    ),
    on_response=note,
    status=lambda: {"connected": True},
    heartbeat=0.05,
    sigterm="CONTRACT_SIGTERM" in os.environ,
)
