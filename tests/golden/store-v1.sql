-- A database as schema 1.0 wrote it. Never edited: every later release must still open it.
BEGIN;
CREATE TABLE bot_configs (
    id TEXT NOT NULL PRIMARY KEY,
    bot_index BIGINT NOT NULL UNIQUE,
    platform TEXT,
    settings TEXT NOT NULL,
    wanted TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE credentials (
    bot TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    digest TEXT UNIQUE,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (bot, name)
);
CREATE TABLE process_events (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    bot TEXT NOT NULL,
    run_id TEXT,
    name TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX process_events_by_bot ON process_events (bot, id);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    bot TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX audit_log_by_bot ON audit_log (bot, id);
CREATE TABLE blocklist (
    bot TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    blocked_at BIGINT NOT NULL,
    until BIGINT,
    failures BIGINT NOT NULL,
    PRIMARY KEY (bot, target)
);
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO bot_configs VALUES ('shop', 0, 'telegram', '{"command":["python3","/srv/shop.py"]}', 'up', 1700000000000, 1700000001000);
INSERT INTO bot_configs VALUES ('rave@mesh-1', 2, NULL, '{}', 'down', 1700000000000, 1700000000000);
INSERT INTO credentials VALUES ('shop', 'token', '123456:golden', '0f196ef3ba6ab22de931aa8af6907b6b14adc8f9a1ad4cfd2484d58acfbf96d4', 1700000000000);
INSERT INTO process_events VALUES (1, 1700000000500, 'shop', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'starting', 'asked by ann');
INSERT INTO process_events VALUES (2, 1700000000600, 'rave@mesh-1', NULL, 'stopped', '');
INSERT INTO process_events VALUES (3, 1700000001500, 'shop', NULL, 'running', '');
INSERT INTO audit_log VALUES (1, 1700000000000, 'ann', 'bot create', 'shop', '');
INSERT INTO blocklist VALUES ('shop', 'chat-1', 'kicked', 1700000000000, NULL, 1);
INSERT INTO blocklist VALUES ('shop', 'chat-2', 'blocked', 1700000000000, 1700000100000, 3);
INSERT INTO blocklist VALUES ('shop', 'chat-3', 'blocked', 1600000000000, 1600000100000, 3);
INSERT INTO meta VALUES ('home_id', '00112233445566778899aabbccddeeff');
INSERT INTO meta VALUES ('token_key', '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef');
PRAGMA user_version = 1000;
COMMIT;
