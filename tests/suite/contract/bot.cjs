// The bot of the contract tests; bot.mjs hands it the other way of loading the client.

"use strict";

const fs = require("fs");

function play({ Client }) {
  const bot = new Client();
  const log = (fields) => fs.appendFileSync(process.env.CONTRACT_LOG, `${JSON.stringify(fields)}\n`);
  const note = (message) => log({
    id: message.id, name: message.name, attempt: message.attempt, from: message.sender, kind: message.kind,
    priority: message.priority, order_key: message.orderKey, history: message.history,
    correlation_id: message.correlationId,
  });
  const forever = () => new Promise(() => { setInterval(() => {}, 100000); });
  const gate = async () => {
    while (!fs.existsSync(process.env.CONTRACT_GATE)) await new Promise((resolve) => { setTimeout(resolve, 10); });
  };
  const seen = new Set();
  const handlers = {
    note: (message) => { note(message); message.ack(); },
    send_message: async (message) => { note(message); return message.payload; },
    fail: (message) => {
      note(message);
      const { message: why, retry_after: retryAfter, permanent } = message.payload;
      message.fail(why, { retryAfter, permanent });
    },
    hang: (message) => { note(message); return message.attempt === 1 ? forever() : undefined; },
    flaky: (message) => {
      note(message);
      if (message.attempt === 1) throw new Error("not yet");
      return { text: "done at last" };
    },
    later: (message) => {
      note(message);
      if (seen.has(message.id)) return;
      seen.add(message.id);
      message.fail("busy", { retryAfter: 0.2 });
    },
    wait: async (message) => { note(message); await gate(); message.ack(); },
    broken: (message) => { note(message); throw new Error("no such price"); },
    forward: (message) => {
      const rest = { orderKey: "chat-1", dedupKey: "d-1", priority: 3, expiresIn: 60 };
      bot.send({ to: "news", name: "send_message", payload: { text: "hello" }, ...rest });
      message.ack();
    },
    who: ({ payload: { user, command } }) => ({ is_admin: bot.isAdmin(user), allowed: bot.allowed(command, user) }),
    many: (message) => {
      const numbers = [...Array(message.payload.count).keys()];
      bot.postMany(numbers.map((number) => ({ name: "counted", payload: { number } })));
      message.ack();
    },
  };
  bot.ready();
  return bot.run(handlers, {
    onShutdown: (mode, deadline) => log({ name: "on_shutdown", mode, deadline }),
    onRestartConnection: async () => log({ name: "on_restart_connection" }),
    onRefreshCredentials: (credentials, fields) => log({ name: "on_refresh_credentials", fields, credentials }),
    onResponse: note,
    status: async () => ({ connected: true }),
    heartbeat: 0.05,
    sigterm: "CONTRACT_SIGTERM" in process.env,
  }).then(() => process.exit(0));
}

module.exports = { play };
if (require.main === module) play(require("./multibot.cjs"));
