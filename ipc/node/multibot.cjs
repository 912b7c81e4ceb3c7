// A bot's side of multibot, without dependencies, for Node 18 and later. Copy it beside your bot; for `import`,
// copy multibot.mjs too.
//
//     const { Client } = require("./multibot.cjs");
//
//     const bot = new Client();
//     bot.ready();
//     bot.run({ send_message: (message) => "you said: " + message.payload.text });
//
// Who this bot is and where its mailboxes are stands in the environment that multibot starts it with. The files are
// described in ipc/README.md. Only `receive` and `run` wait, all else is done when it returns. Times are in seconds.
//
// One message is in hand at a time: `receive` gives the same one again until it was acknowledged (`ack`, `reply`) or
// refused (`fail`). Whatever a run had in hand when it died comes back with a higher `attempt`, so a message may be
// handled twice; its `id` tells. Only one client of a run may receive.

"use strict";

const { execFileSync } = require("child_process");
const crypto = require("crypto");
const fs = require("fs");
const path = require("path");

const ENVELOPE_BYTES_MAX = 256 * 1024;
const FILE_BYTES_MAX = 16 * 1024 * 1024;
const FILE_ENVELOPES_MAX = 512;
const MAILBOX_FILES_MAX = 100000;
// What is accepted must still be handled and answered.
const DISK_FREE_BYTES_MIN = 1024 * 1024;
// So that nothing starves, each sixteenth claim takes from the least urgent end.
const FAIR_EVERY = 16;
// A watch is a hint that may be lost: this long after the last look, look again.
const RESCAN_S = 30;
const POLL_S = 1;
const HEARTBEAT_S = 10;
const CREDENTIALS_S = 30;
// How long the stop signal may be behind the message that it comes with.
const SIGNAL_S = 0.5;

const VARIABLES = ["BOT_ID", "MULTIBOT_RUN_ID", "MULTIBOT_INBOX", "MULTIBOT_OUTBOX", "MULTIBOT_HEARTBEAT"];
const ADMIN_COMMANDS = ["admin", "refresh", "setperm", "removeperm", "listperms", "relogin"];
const CONTROL = [
  "shutdown", "status_request", "refresh_admins", "refresh_permissions", "refresh_blocklist", "refresh_credentials",
];
const KINDS = ["command", "response", "event", "heartbeat", "error"];
const BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const OWN_NAME = /^([0-9])-([0-9]{17})-([0-7][0-9A-HJKMNP-TV-Z]{25})\.([1-9][0-9]*)\.ndjson$/;
const LATER_NAME = /^[0-9]{17}-([0-9a-f]{16})-(.*)$/;
const TIME = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/;

const text = (pattern) => (value) => typeof value === "string" && pattern.test(value);
const whole = (min, max) => (value) => Number.isInteger(value) && value >= min && value <= max;
const time = (value) => seconds(value) !== null;
const id = text(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/);
const address = text(/^(?:[A-Za-z0-9][A-Za-z0-9._%@-]{0,191}|[*])$/);
const key = text(/^[^\x00-\x1f\x7f]{1,256}$/u);
const FIELDS = {
  v: whole(1, 1), id, kind: (value) => KINDS.includes(value), name: text(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/),
  from: address, to: address, correlation_id: id, dedup_key: key, order_key: key, priority: whole(0, 9),
  created_at: time, expires_at: time, attempt: whole(1, 2 ** 32 - 1), max_attempts: whole(1, 2 ** 32 - 1),
  payload: isObject,
};

/** What could not be done, in one line. */
class MultibotError extends Error {
  get name() { return this.constructor.name; }
}

/** The outbox takes nothing now: it is full, or the disk is. Nothing was changed; try again later. */
class NotPosted extends MultibotError {}

/** Why a file is no message. */
class Unreadable extends Error {}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const now = () => Date.now() / 1000;
/** Waits for a promise, so many seconds at most. */
const within = (wait, promise) => new Promise((resolve) => {
  const timer = setTimeout(resolve, wait * 1000);
  promise.then(() => { clearTimeout(timer); resolve(); });
});
const pause = (wait) => new Promise((resolve) => setTimeout(resolve, wait * 1000));
const tell = (line) => console.error(`multibot: ${line}`);

/** The seconds since 1970 of a time in RFC 3339; null for anything else. */
function seconds(value) {
  const parts = typeof value === "string" ? TIME.exec(value) : null;
  if (!parts) return null;
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number);
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const isDate = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  if (!isDate || hour > 23 || minute > 59 || second > 60) return null;
  const zone = parts[8].toUpperCase() === "Z" ? "+00:00" : parts[8];
  const offset = (zone[0] === "-" ? -60 : 60) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6)));
  // A leap second counts as the one before it.
  const clock = hour * 3600 + minute * 60 + Math.min(second, 59);
  return date.getTime() / 1000 + clock + Number(`0.${parts[7] || 0}`) - offset;
}

function ulid() {
  let number = (BigInt(Date.now()) << 80n) | BigInt(`0x${crypto.randomBytes(10).toString("hex")}`);
  let letters = "";
  for (let at = 0; at < 26; at += 1, number >>= 5n) letters = BASE32[Number(number & 31n)] + letters;
  return letters;
}

/** Runs `doing`; `otherwise` where what it is about is not there. */
function unlessGone(doing, otherwise) {
  try {
    return doing();
  } catch (error) {
    if (error.code === "ENOENT") return otherwise;
    throw error;
  }
}

const isThere = (file) => unlessGone(() => Boolean(fs.lstatSync(file)), false);
const unlink = (file) => unlessGone(() => fs.unlinkSync(file));
const names = (dir) => unlessGone(() => fs.readdirSync(dir).filter((name) => !name.startsWith(".")), []);

/** Writes a file that was not there. */
function write(file, data, sync) {
  const flags = fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW;
  const fd = fs.openSync(file, flags, 0o600);
  try {
    fs.writeFileSync(fd, data);
    if (sync) fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function syncFolder(dir) {
  const fd = fs.openSync(dir, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** What files sort by. A foreign name counts as priority 5 and queues when it arrived; null when it is gone. */
function entryOf(dir, name, prefix) {
  const own = OWN_NAME.exec(name);
  if (own) return { priority: Number(own[1]), micros: Number(own[2]), name };
  const found = unlessGone(() => fs.lstatSync(path.join(dir, prefix + name), { bigint: true }), null);
  return found && { priority: 5, micros: Number(found.ctimeNs / 1000n), name };
}

function inOrder(a, b) {
  return a.priority - b.priority || a.micros - b.micros || (a.name < b.name ? -1 : Number(a.name > b.name));
}

/** Files in the order of delivery; in their folder stands `prefix` before their names. */
function sorted(dir, found, prefix = "") {
  return found.map((name) => entryOf(dir, name, prefix)).filter(Boolean).sort(inOrder);
}

/** Where a file stands among others; of its envelopes, each counts on by one in the last part. */
function placeOf(name, arrived) {
  const own = OWN_NAME.exec(name);
  if (own) return [Number(own[1]), Number(own[2]), [...own[3]].reduce(digit, 0n)];
  const micros = Buffer.alloc(8);
  micros.writeBigUInt64BE(arrived);
  const digest = crypto.createHash("sha256").update(micros).update(name).digest("hex");
  return [5, Number(arrived), BigInt(`0x${digest.slice(0, 32)}`)];
}

const digit = (sum, letter) => sum * 32n + BigInt(BASE32.indexOf(letter));

function isBefore(a, b) {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at >= 0 && a[at] < b[at];
}

/** `name` within what a file name may have, `.acked` included; the ending stays, for it is the format. */
function fitted(prefix, name, number) {
  const ending = path.extname(name).slice(0, 16);
  const mark = number ? `~${number}` : "";
  const room = 255 - ".acked".length - Buffer.byteLength(prefix + mark + ending);
  let stem = name.slice(0, name.length - path.extname(name).length);
  while (Buffer.byteLength(stem) > room) stem = stem.slice(0, -1);
  return prefix + stem + mark + ending;
}

/** Renames a file into `dir` under a name that is free; returns it, null when somebody else was faster. */
function move(source, dir, prefix, name) {
  for (let number = 0; ; number += 1) {
    const target = path.join(dir, fitted(prefix, name, number));
    if (isThere(target)) continue;
    const isMoved = unlessGone(() => { fs.renameSync(source, target); return true; }, false);
    if (isMoved) return target;
    if (isThere(dir)) return null;
    throw new MultibotError(`no mailbox at ${path.dirname(dir)}`);
  }
}

/** The text of a claimed file, which is opened without following a link or waiting for a writer. */
function read(file, name, owner) {
  if (!name.endsWith(".ndjson") && !name.endsWith(".json")) {
    throw new Unreadable("its name ends in neither .ndjson nor .json");
  }
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = fs.constants;
  let fd;
  try {
    fd = fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    // Only what is wrong with the file is a reason to set it aside, not what is wrong with the host.
    if (!["ELOOP", "ENXIO", "ENODEV", "EACCES", "EPERM"].includes(error.code)) throw error;
    throw new Unreadable(`it cannot be opened: ${error.code}`);
  }
  try {
    const found = fs.fstatSync(fd);
    if (!found.isFile()) throw new Unreadable("it is not a regular file");
    if (found.nlink !== 1) throw new Unreadable(`it has ${found.nlink} hard links, not one`);
    if (found.uid !== 0 && found.uid !== owner) throw new Unreadable(`it belongs to uid ${found.uid}`);
    if (found.size > FILE_BYTES_MAX) throw new Unreadable(`it is longer than ${FILE_BYTES_MAX} bytes`);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(fs.readFileSync(fd));
  } catch (error) {
    throw error instanceof TypeError ? new Unreadable("it is not UTF-8") : error;
  } finally {
    fs.closeSync(fd);
  }
}

/** The envelopes of a file, as they lie there; one faulty envelope makes the whole file unreadable. */
function parse(name, content) {
  const lines = (name.endsWith(".json") ? [content] : content.split("\n")).filter((line) => line.trim() !== "");
  if (lines.length === 0) throw new Unreadable("it is empty");
  if (lines.length > FILE_ENVELOPES_MAX) throw new Unreadable(`it holds more than ${FILE_ENVELOPES_MAX} envelopes`);
  return lines.map((line, index) => {
    const fault = (why) => new Unreadable(`envelope ${index + 1}: ${why}`);
    if (Buffer.byteLength(line) > ENVELOPE_BYTES_MAX) throw fault(`longer than ${ENVELOPE_BYTES_MAX} bytes`);
    let envelope;
    try {
      envelope = JSON.parse(line);
    } catch {
      throw fault("not valid JSON");
    }
    if (!isObject(envelope)) throw fault("not a JSON object");
    for (const field of Object.keys(envelope)) if (envelope[field] === null) delete envelope[field];
    for (const field of ["id", "kind", "name"]) {
      if (envelope[field] === undefined) throw fault(`${field} is missing`);
    }
    for (const [field, holds] of Object.entries(FIELDS)) {
      if (envelope[field] !== undefined && !holds(envelope[field])) throw fault(`${field} is not what it must be`);
    }
    return envelope;
  });
}

function payloadOf(payload) {
  if (typeof payload === "string") return { text: payload };
  if (payload === undefined || payload === null) return {};
  if (!isObject(payload)) throw new MultibotError("a payload is an object, a text or nothing");
  return payload;
}

/** What later/ names are marked with; null for an envelope that keeps no order. */
function orderKey(envelope) {
  if (envelope.order_key === undefined) return null;
  const parts = [envelope.from ?? "supervisor", envelope.priority ?? 5, envelope.order_key];
  return crypto.createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 16);
}

/** What waits in later/: order keys, each with the place of its message. */
function givenBackIn(found) {
  const parts = found.map((name) => LATER_NAME.exec(name)).filter((it) => it && OWN_NAME.test(it[2]));
  return parts.filter((it) => it[1] !== "0".repeat(16)).map((it) => ({ key: it[1], place: placeOf(it[2], 0n) }));
}

/** The supervisor's word to one run: the next one has no use for it. */
function isForOneRun({ name, kind, from = "supervisor" }) {
  return CONTROL.includes(name) && kind === "command" && from === "supervisor";
}

/** A claimed file: its envelopes, and what became of each. The truth about that is `.acked` beside it. */
class ClaimedFile {
  constructor(file, name, envelopes) {
    this.path = file;
    this.progress = `${file}.acked`;
    this.envelopes = envelopes;
    this.attempt = Number(OWN_NAME.exec(name)?.[4] ?? 1);
    this.acked = new Set();
    this.refused = new Set();
    this.first = placeOf(name, fs.lstatSync(file, { bigint: true }).ctimeNs / 1000n);
    this.load();
  }

  place(envelope) {
    const [priority, micros, number] = this.first;
    return [priority, micros, number + BigInt(this.envelopes.indexOf(envelope))];
  }

  /**
   * The order keys of what was refused, each with the place of its message. Settled or not: it may be on its way back,
   * past what else stands in this file.
   */
  givenBack() {
    const back = this.envelopes.filter((it) => this.refused.has(it.id) && it.order_key);
    return back.map((it) => ({ key: orderKey(it), place: this.place(it) }));
  }

  /** Reads the progress; a last line that a power cut has torn does not count. */
  load() {
    const lines = unlessGone(() => fs.readFileSync(this.progress, "utf8"), "").split("\n").slice(0, -1);
    for (const line of lines) {
      if (line.startsWith("-")) this.refused.add(line.slice(1));
      else this.acked.add(line);
    }
  }

  unsettled() {
    return this.envelopes.filter((it) => !this.acked.has(it.id) && !this.refused.has(it.id));
  }

  ack(envelopeId) {
    this.acked.add(envelopeId);
    if (this.envelopes.length === 1) {
      unlink(this.path);
    } else {
      this.append(envelopeId);
      this.finish();
    }
  }

  refuse(envelope) {
    this.refused.add(envelope.id);
    this.append(`-${envelope.id}`);
    // The supervisor was faster and has moved it: nobody needs what stands beside it.
    if (!isThere(this.path)) unlink(this.progress);
  }

  /** Unlinks what is done. The supervisor acknowledges here too, so the file has the last word. */
  finish() {
    if (this.unsettled().length > 0) return;
    this.load();
    if (this.envelopes.every((it) => this.acked.has(it.id))) {
      unlink(this.path);
      unlink(this.progress);
    }
  }

  append(line) {
    const before = unlessGone(() => fs.readFileSync(this.progress, "utf8"), "");
    // No id has a slash: a torn line stays one that means nothing.
    const whole = (before !== "" && !before.endsWith("\n") ? "/\n" : "") + line + "\n";
    const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = fs.constants;
    const fd = fs.openSync(this.progress, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
    try {
      if (fs.writeSync(fd, whole) < whole.length) throw new MultibotError(`${this.progress}: only a part was written`);
    } finally {
      fs.closeSync(fd);
    }
  }
}

/** One message that was received. Settle it once: `ack`, `reply` or `fail`. */
class Message {
  constructor(client, file, envelope) {
    Object.defineProperty(this, "_client", { value: client });
    Object.defineProperty(this, "_file", { value: file });
    this.envelope = envelope;
    this.isSettled = false;
    this.id = envelope.id;
    this.kind = envelope.kind;
    this.name = envelope.name;
    this.payload = envelope.payload ?? {};
    this.sender = envelope.from ?? "supervisor";
    this.correlationId = envelope.correlation_id ?? null;
    this.orderKey = envelope.order_key ?? null;
    this.priority = envelope.priority ?? 5;
    this.attempt = Math.max(envelope.attempt ?? 1, file.attempt);
    this.maxAttempts = envelope.max_attempts ?? 5;
    this.createdAt = envelope.created_at ?? null;
    this.expiresAt = envelope.expires_at ?? null;
    this.history = envelope.history ?? [];
  }

  /** It is handled: it will not come again. */
  ack() {
    this._client._settle(this, null);
  }

  /** Answers whoever sent it, then acknowledges it. A text becomes { text }. */
  reply(payload) {
    this._client._settle(this, { kind: "response", payload: payloadOf(payload) });
  }

  /**
   * It could not be handled. It comes again after a growing delay, until its attempts are spent; after `retryAfter`
   * seconds without that counting as an attempt; or never, if `permanent`.
   */
  fail(reason, { retryAfter, permanent = false } = {}) {
    const payload = { message: String(reason) };
    if (retryAfter !== undefined && retryAfter !== null) payload.retry_after = retryAfter;
    if (permanent) payload.permanent = true;
    this._client._settle(this, { kind: "error", payload });
  }
}

class Client {
  constructor(environment = process.env) {
    const missing = VARIABLES.filter((name) => !environment[name]);
    if (missing.length > 0) {
      throw new MultibotError(`not inside a bot: ${missing.join(", ")} not set; multibot sets them when it starts one`);
    }
    [this.bot, this.runId, this._inbox, this._outbox, this._heartbeat] = VARIABLES.map((name) => environment[name]);
    [this._new, this._cur, this._later] = ["new", "cur", "later"].map((name) => path.join(this._inbox, name));
    this._dead = path.join(path.dirname(this._inbox), "dead");
    this._born = now();
    if (ULID.test(this.runId)) {
      this._born = Number([...this.runId.slice(0, 10)].reduce(digit, 0n)) / 1000;
    }
    this._environment = environment;
    this._message = null;
    this._admins = new Set();
    this._permissions = new Map();
    this._files = null;
    // Files of which something waits for the supervisor, and what may not be overtaken.
    this._waiting = [];
    this._givenBack = [];
    this._entries = [];
    this._wasDelayed = false;
    this._taken = 0;
    this._claims = 0;
    this._lastMicros = 0;
    this._room = 0;
    this._watcher = null;
    this._wake = () => { this._isHinted = true; };
    this._isHinted = false;
    this.isStopped = false;
  }

  // Sending.

  /** Says that the bot works. */
  ready(detail) {
    this._post([this._envelope({ kind: "event", name: "ready", payload: detail ? { detail } : {} })], false);
  }

  /** One heartbeat. Whoever has beaten once must go on: a bot that falls silent is restarted. */
  heartbeat() {
    const beat = this._envelope({ kind: "heartbeat", name: "heartbeat" });
    const tmp = path.join(this._outbox, "tmp", `${beat.id}.heartbeat`);
    try {
      write(tmp, `${JSON.stringify(beat)}\n`, false);
      fs.renameSync(tmp, this._heartbeat);
    } catch (error) {
      unlink(tmp);
      throw new NotPosted(`no heartbeat: ${error.message}`);
    }
  }

  /** Beats as long as the event loop turns; it alone does not keep the process alive. Returns what ends it. */
  beatEvery(wait = HEARTBEAT_S) {
    const beat = () => {
      try {
        this.heartbeat();
      } catch (error) {
        tell(error.message);
      }
    };
    beat();
    const timer = setInterval(beat, wait * 1000);
    timer.unref();
    return () => clearInterval(timer);
  }

  /** Tells something for the bot's history: `connected`, `disconnected`, or a name of your own. */
  event(name, payload) {
    return this._post([this._envelope({ kind: "event", name, payload })])[0];
  }

  /** Tells that something went wrong and the bot goes on. */
  error(message, payload) {
    return this.event("error", { ...payload, message: String(message) });
  }

  /**
   * Sends a message to another bot, or with to: "*" to all that accept it; returns its id. Its answer is received like
   * any message, with that id as `correlationId`. Also: priority (0 to 9), orderKey, dedupKey, expiresIn, maxAttempts.
   */
  send({ to, name, payload, ...rest }) {
    return this._post([this._envelope({ kind: "command", to, name, payload, ...rest })])[0];
  }

  /**
   * Posts many in one go, and durably with one wait for the disk: objects as for `send`, or without `to` events.
   * Returns their ids.
   */
  postMany(messages) {
    return this._post(messages.map((it) => this._envelope({ kind: it.to ? "command" : "event", ...it })));
  }

  _envelope({ kind, name, payload, to = "supervisor", expiresIn, ...rest }) {
    const optional = {
      correlation_id: rest.correlationId, dedup_key: rest.dedupKey, order_key: rest.orderKey,
      priority: rest.priority ?? 5, created_at: new Date().toISOString(),
      expires_at: expiresIn === undefined ? undefined : new Date(Date.now() + expiresIn * 1000).toISOString(),
      max_attempts: rest.maxAttempts,
    };
    const envelope = { v: 1, id: ulid(), kind, name, from: this.bot, to, ...optional, payload: payloadOf(payload) };
    for (const [field, holds] of Object.entries(FIELDS)) {
      if (envelope[field] !== undefined && !holds(envelope[field])) {
        throw new MultibotError(`${name}: ${field} is not what it must be`);
      }
    }
    return envelope;
  }

  /** Posts envelopes in order; returns their ids. With `sync` they survive a power cut once this returns. */
  _post(envelopes, sync = true) {
    const lines = envelopes.map((envelope) => {
      const data = Buffer.from(`${stringify(envelope)}\n`);
      if (data.length > ENVELOPE_BYTES_MAX) {
        const bounds = `${data.length} bytes long, at most ${ENVELOPE_BYTES_MAX} can be sent`;
        throw new MultibotError(`${envelope.name} is ${bounds}`);
      }
      return data;
    });
    for (let start = 0, end = 0; start < lines.length; start = end) {
      let size = 0;
      while (end < lines.length && end - start < FILE_ENVELOPES_MAX && size + lines[end].length <= FILE_BYTES_MAX) {
        size += lines[end].length;
        end += 1;
      }
      this._postFile(envelopes.slice(start, end), Buffer.concat(lines.slice(start, end)), sync);
    }
    return envelopes.map((envelope) => envelope.id);
  }

  _postFile(envelopes, data, sync) {
    const folder = path.join(this._outbox, "new");
    if (this._room <= 0) {
      const free = MAILBOX_FILES_MAX - names(folder).length;
      if (free <= 0) throw new NotPosted(`queue full: ${this._outbox}`);
      // Counting costs as much as the mailbox is long, so it is done rarely.
      this._room = 1 + Math.floor(free / 16);
    }
    this._room -= 1;
    this._lastMicros = Math.max(this._lastMicros + 1, Date.now() * 1000);
    const urgent = Math.min(...envelopes.map((envelope) => envelope.priority));
    const name = `${urgent}-${String(this._lastMicros).padStart(17, "0")}-${envelopes[0].id}.1.ndjson`;
    const tmp = path.join(this._outbox, "tmp", name);
    try {
      // Node 18 has this from 18.15 on.
      const disk = sync ? fs.statfsSync?.(this._outbox) : undefined;
      if (disk && disk.bavail * disk.bsize < data.length + DISK_FREE_BYTES_MIN) throw new Error("the disk is full");
      write(tmp, data, sync);
      fs.renameSync(tmp, path.join(folder, name));
    } catch (error) {
      unlink(tmp);
      throw new NotPosted(`cannot post to ${this._outbox}: ${error.message}`);
    }
    if (sync) syncFolder(folder);
  }

  // Receiving.

  /** The next message, or the one in hand again; null after `timeout` seconds, and when `stop` was called. */
  async receive({ timeout } = {}) {
    const begun = now();
    for (;;) {
      this._isHinted = false;
      this._arm();
      const message = this._take();
      if (message) return message;
      const idle = now() - begun;
      // Where the kernel gives no watch, a look now and then takes its place.
      let patience = this._watcher ? RESCAN_S : Math.min(POLL_S, Math.max(0.05, idle / 2));
      if (timeout !== undefined && timeout !== null) patience = Math.min(patience, timeout - idle);
      if (this.isStopped || patience <= 0) return null;
      await this._hint(patience);
    }
  }

  /** Makes `run` and a `receive` that waits return. */
  stop() {
    this.isStopped = true;
    this._wake();
  }

  _hint(patience) {
    if (this._isHinted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this._wake(), patience * 1000);
      this._watcher?.watch.ref();
      this._wake = () => {
        this._isHinted = true;
        this._wake = () => { this._isHinted = true; };
        clearTimeout(timer);
        // Nobody waits: a watch alone must not keep the process alive.
        this._watcher?.watch.unref();
        resolve();
      };
    });
  }

  /** Watches the folder that is there now: it may have been removed and made anew. */
  _arm() {
    const inode = unlessGone(() => fs.statSync(this._new).ino, null);
    if (this._watcher?.inode === inode) return;
    this._watcher?.watch.close();
    this._watcher = null;
    try {
      const watch = fs.watch(this._new, () => this._wake());
      watch.unref();
      watch.on("error", () => { this._watcher = null; });
      this._watcher = { watch, inode };
    } catch {
      // The limit of watches, or no such folder.
    }
  }

  /** The message in hand, or the next one; null when none waits. */
  _take() {
    if (this._files === null) this._resume();
    while (this._message === null) {
      if (this._files.length === 0 && !this._claim()) return null;
      const file = this._files[0];
      const envelope = this._next(file);
      if (envelope) {
        this._message = new Message(this, file, envelope);
      } else {
        file.finish();
        this._files.shift();
        if (file.refused.size > 0) this._waiting.push(file);
      }
    }
    return this._message;
  }

  /** The first envelope that may be handed out. What may not is answered on the way. */
  _next(file) {
    for (const envelope of file.unsettled()) {
      const expires = envelope.expires_at;
      const isExpired = expires !== undefined && seconds(expires) < now();
      const isControl = isForOneRun(envelope);
      if (isControl && (seconds(envelope.created_at) ?? now()) < this._born) {
        // The signal may end a run before it reads the message that came with it.
        file.ack(envelope.id);
      } else if (isControl && envelope.name === "shutdown") {
        // However late: a bot that must end has to know.
        return envelope;
      } else if (isControl && (isExpired || this._learn(envelope))) {
        file.ack(envelope.id);
      } else if (isExpired) {
        this._refuse(file, envelope, { message: `expired at ${expires}`, permanent: true });
      } else if (this._mustWait(file, envelope)) {
        this._refuse(file, envelope, { message: "an earlier message of its order_key waits", behind: true });
      } else {
        return envelope;
      }
    }
    return null;
  }

  /** Takes over a list of the supervisor's; whether this was one. */
  _learn({ name, payload = {} }) {
    if (name === "refresh_admins") {
      this._admins = new Set((payload.admins ?? []).map(String));
    } else if (name === "refresh_permissions") {
      this._permissions = new Map(Object.entries(payload.permissions ?? {}));
    } else {
      return name === "refresh_blocklist";
    }
    return true;
  }

  /** Whether this user, by the id that the platform gives, is an admin of all bots of this home. */
  isAdmin(user) {
    return this._admins.has(String(user));
  }

  /**
   * Whether this user may use this chat command; `fallback` ("user" or "admin") is whose it is where nobody has said
   * otherwise.
   */
  allowed(command, user, fallback = "user") {
    // As multibot keeps it, with or without its prefix.
    if (command !== "*") command = command.replace(/^[!-,./:-@[-^`{-~]+/, "").toLowerCase();
    const level = ADMIN_COMMANDS.includes(command) ? "admin" : this._permissions.get(command) ?? fallback;
    return level === "user" || this.isAdmin(user);
  }

  /** The bot's secret fields as they are now, by name; its token is `token`. Asks multibot. */
  credentials() {
    const program = this._environment.MULTIBOT_PROGRAM || "multibot";
    const options = { env: this._environment, stdio: ["ignore", "pipe", "pipe"], timeout: CREDENTIALS_S * 1000 };
    try {
      return JSON.parse(execFileSync(program, ["ipc", "credentials", "--json"], options).toString());
    } catch (error) {
      // The error itself holds what was printed.
      const why = error.stderr?.length ? error.stderr.toString().trim() : `cannot run ${program}: ${error.code}`;
      throw new MultibotError(`no credentials: ${why}`);
    }
  }

  /**
   * Whether an earlier message of its order key was given back. A later one is none of its business: two that wait for
   * each other would wait for ever.
   */
  _mustWait(file, envelope) {
    const own = orderKey(envelope);
    return own !== null && this._givenBack.some((it) => it.key === own && isBefore(it.place, file.place(envelope)));
  }

  _answer(envelope, kind, payload) {
    const isStatus = envelope.name === "status_request" && kind === "response";
    const answer = this._envelope({
      kind, name: isStatus ? "status_response" : envelope.name, payload, to: envelope.from ?? "supervisor",
      correlationId: envelope.id, priority: envelope.priority,
    });
    this._post([answer], !isStatus);
  }

  _refuse(file, envelope, payload) {
    this._answer(envelope, "error", payload);
    this._entries = [];
    file.refuse(envelope);
    if (envelope.order_key) this._givenBack.push({ key: orderKey(envelope), place: file.place(envelope) });
  }

  _settle(message, answer) {
    if (message.isSettled) throw new MultibotError(`${message.name} ${message.id} is settled already`);
    // The answer first: whoever dies in between answers twice rather than never.
    if (answer?.kind === "error") {
      this._refuse(message._file, message.envelope, answer.payload);
    } else {
      if (answer) this._answer(message.envelope, "response", answer.payload);
      message._file.ack(message.id);
    }
    message.isSettled = true;
    if (this._message === message) this._message = null;
  }

  /** Takes up what this run has claimed before: a client of the same run may have been here. */
  _resume() {
    const mine = `${this.runId},`;
    const found = names(this._cur).filter((name) => name.startsWith(mine) && !name.endsWith(".acked"));
    this._givenBack = givenBackIn(names(this._later));
    this._files = [];
    for (const { name } of sorted(this._cur, found.map((it) => it.slice(mine.length)), mine)) {
      const file = this._open(path.join(this._cur, mine + name), name);
      if (!file) continue;
      this._givenBack.push(...file.givenBack());
      if (file.unsettled().length > 0) {
        this._files.push(file);
      } else {
        file.finish();
        this._waiting.push(file);
      }
    }
  }

  /** Claims the next file that can be read; false when none waits. */
  _claim() {
    for (;;) {
      this._waiting = this._waiting.filter((file) => isThere(file.path));
      // In this order: what moves from later/ to new/ in between is then seen in new/.
      const later = names(this._later);
      const isDelayed = later.length > 0 || this._waiting.length > 0;
      // What was listed while something waited may hold what must still wait for it. The list is kept reversed: its
      // last entry is the next one.
      const isOld = isDelayed || this._wasDelayed;
      if (isOld || this._entries.length === 0 || this._taken > Math.max(16, this._entries.length / 16)) {
        this._entries = sorted(this._new, names(this._new)).reverse();
        this._taken = 0;
      }
      this._wasDelayed = isDelayed;
      if (this._entries.length === 0) return false;
      this._claims += 1;
      this._taken += 1;
      let at = this._entries.length - 1;
      if (this._claims % FAIR_EVERY === 0) {
        const lowest = this._entries[0].priority;
        while (this._entries[at].priority !== lowest) at -= 1;
      }
      const [{ name }] = this._entries.splice(at, 1);
      const mine = `${this.runId},`;
      // An orphan of an earlier claim of the same name must not speak for this one.
      unlink(`${path.join(this._cur, fitted(mine, name, 0))}.acked`);
      // What only looks like somebody's progress gets another name.
      const posted = name.endsWith(".acked") ? `${name}_` : name;
      const claimed = move(path.join(this._new, name), this._cur, mine, posted);
      if (claimed === null) continue;
      this._givenBack = [...givenBackIn(later), ...this._waiting.flatMap((it) => it.givenBack())];
      const file = this._open(claimed, name);
      if (!file) continue;
      this._files.push(file);
      return true;
    }
  }

  _open(claimed, name) {
    try {
      const owner = fs.statSync(this._inbox).uid;
      return new ClaimedFile(claimed, name, parse(name, read(claimed, name, owner)));
    } catch (error) {
      if (error.code === "ENOENT") return null;
      if (!(error instanceof Unreadable)) throw error;
      this._bury(claimed, name, error.message);
      return null;
    }
  }

  /** Sets a file aside that is no message, with its reason beside it. Nothing is ever deleted. */
  _bury(claimed, name, reason) {
    fs.mkdirSync(this._dead, { recursive: true, mode: 0o700 });
    const target = move(claimed, this._dead, "", name.endsWith(".reason") ? `${name}_` : name);
    if (target === null) return;
    const tmp = path.join(this._dead, `.${ulid()}.reason`);
    write(tmp, `${JSON.stringify({ v: 1, reason, at: new Date().toISOString(), from_box: "inbox" })}\n`, false);
    fs.renameSync(tmp, `${target}.reason`);
    tell(`set aside ${name}: ${reason}`);
  }

  // The loop.

  /**
   * Handles messages until the bot is told to end, one after another.
   *
   * `handlers` has a function for each name, and "*" for all others; they may be asynchronous. What one returns is the
   * reply: an object, a text, or nothing; what it throws makes the message fail and come again. Unknown commands are
   * refused. Answered by itself: status_request, with what `status()` returns, and shutdown, with
   * `onShutdown(mode, deadline)`. With credentials.refresh=command, `onRefreshCredentials(credentials, fields)` is given
   * them all as an object, and the names of those that have changed. `heartbeat`: seconds between two beats, null for none. `sigterm`: true makes the stop
   * signal end the loop after the message in hand, instead of killing the process where it stands.
   */
  async run(handlers = {}, options = {}) {
    const { onShutdown, heartbeat = HEARTBEAT_S, sigterm = false } = options;
    const signal = new Promise((resolve) => {
      if (!sigterm) return;
      // It stays when the loop has ended: the signal may come again.
      process.on("SIGTERM", () => { this.stop(); resolve(); });
    });
    const quiet = heartbeat === null ? () => {} : this.beatEvery(heartbeat);
    let isTold = false;
    try {
      while (!this.isStopped) {
        const message = await this.receive();
        if (!message) continue;
        isTold ||= message.name === "shutdown";
        await this._handle(message, new Map(Object.entries(handlers)), options);
      }
      if (sigterm && !isTold) await onShutdown?.("graceful", null);
      // Message and signal come together; a process that is just ending could not take the later one any more.
      if (sigterm && isTold) await within(SIGNAL_S, signal);
    } finally {
      quiet();
    }
  }

  async _reconnect(restart) {
    this.event("disconnected");
    let said;
    try {
      said = await restart();
    } catch (error) {
      this.event("connection_failed", { message: String(error?.message ?? error) });
      throw error;
    }
    this.event("connected");
    return said ?? { connected: true };
  }

  async _handle(message, handlers, { onShutdown, onRestartConnection, onRefreshCredentials, onResponse, status }) {
    const isCommand = message.kind === "command";
    if (isCommand && message.name === "status_request") {
      const uptime = Math.max(0, Math.floor(now() - this._born));
      await this._run(message, async () => ({ uptime_s: uptime, ...(await status?.()) }));
    } else if (isCommand && message.name === "shutdown") {
      // The supervisor sees the end itself; anybody else waits for a word.
      await this._settled(() => (message.sender === "supervisor" ? message.ack() : message.reply()));
      this.stop();
      await onShutdown?.(message.payload.mode ?? "graceful", message.payload.deadline ?? null);
    } else if (isCommand && message.name === "restart_connection" && onRestartConnection) {
      await this._run(message, () => this._reconnect(onRestartConnection));
    } else if (isCommand && message.name === "refresh_credentials" && onRefreshCredentials) {
      await this._run(message, () => onRefreshCredentials(this.credentials(), message.payload.fields ?? []));
    } else if (handlers.has(message.name)) {
      await this._run(message, handlers.get(message.name));
    } else if (!isCommand && message.correlationId && onResponse) {
      await this._run(message, onResponse);
    } else if (!isCommand) {
      await this._settled(() => message.ack());
    } else if (handlers.has("*")) {
      await this._run(message, handlers.get("*"));
    } else {
      await this._settled(() => message.fail(`unknown command "${message.name}"`, { permanent: true }));
    }
  }

  async _run(message, handler) {
    let outcome;
    try {
      outcome = await handler(message);
    } catch (error) {
      if (error instanceof NotPosted) throw error;
      console.error(error);
      if (!message.isSettled) await this._settled(() => message.fail(String(error)));
      return;
    }
    if (message.isSettled) return;
    try {
      // Nobody waits for the answer to an answer or an event.
      await this._settled(() => (message.kind === "command" ? message.reply(outcome) : message.ack()));
    } catch (error) {
      // An answer that no envelope holds; a repetition would not make it fit.
      await this._settled(() => message.fail(`no answer: ${error.message}`, { permanent: true }));
    }
  }

  /** Answers. While the outbox takes nothing, no new message is begun: this one would be handled twice. */
  async _settled(settle) {
    for (;;) {
      try {
        settle();
        return;
      } catch (error) {
        if (!(error instanceof NotPosted)) throw error;
        tell(error.message);
        await pause(POLL_S);
      }
    }
  }
}

/** JSON that every reader takes: half a character, which a string may hold here, is replaced. */
function stringify(value) {
  const line = JSON.stringify(value);
  if (!/\\ud[89a-f]/i.test(line)) return line;
  return JSON.stringify(value, (_, it) => (typeof it === "string" ? Buffer.from(it).toString() : it));
}

module.exports = { Client, Message, MultibotError, NotPosted };
