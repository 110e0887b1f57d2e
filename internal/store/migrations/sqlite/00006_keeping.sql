-- +goose Up

-- When the update came that the event follows from, for a day of the ledger is kept until its events are relayed. Where a program that does
-- not know the column leaves it empty, created_at stands for it.
ALTER TABLE platform_events ADD COLUMN received_at datetime;

-- Who takes events from the outbox: each has taken all whose sequence is up to relayed_through.
CREATE TABLE subscribers (
    name            text   PRIMARY KEY,
    relayed_through bigint NOT NULL
);

-- The times that the ledger was read again. A replay has come to the row that the cursor names, and finished_at is empty until it has come to
-- the end. Who runs it holds it until held_until, and says so again with every page.
CREATE TABLE replays (
    id                 integer     PRIMARY KEY AUTOINCREMENT,
    normaliser_version integer     NOT NULL,
    received_from      datetime,
    received_to        datetime,
    source             text        NOT NULL,
    kind               text        NOT NULL,
    cursor_day         text,
    cursor_source      text        NOT NULL DEFAULT '',
    cursor_update_id   bigint      NOT NULL DEFAULT 0,
    cursor_hash        blob        NOT NULL DEFAULT x'',
    updates            bigint      NOT NULL DEFAULT 0,
    changed            bigint      NOT NULL DEFAULT 0,
    refused            bigint      NOT NULL DEFAULT 0,
    started_at         datetime    NOT NULL,
    held_until         datetime    NOT NULL,
    finished_at        datetime
);

-- Whose content was erased, and when: what was received until then is never written again. A poll has a row for itself, because what comes of
-- it later does not say whose it was. removed is the receipt.
CREATE TABLE erasures (
    id         integer     PRIMARY KEY AUTOINCREMENT,
    subject    text        NOT NULL,
    subject_id text        NOT NULL,
    erased_at  datetime    NOT NULL,
    who        text        NOT NULL,
    reason     text        NOT NULL,
    removed    text
);

-- What Telegram tells beyond the columns, by its own names.
ALTER TABLE messages ADD COLUMN rest text;
ALTER TABLE media ADD COLUMN rest text;

-- Which normaliser wrote a row is the last word of its version; see content.Version.
ALTER TABLE chats ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE users ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE message_revisions ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE media_files ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE memberships ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE reactions ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE reaction_counts ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE polls ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE poll_answers ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE interactions ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE business_connections ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;
ALTER TABLE chat_boosts ADD COLUMN normaliser_version integer GENERATED ALWAYS AS (CASE WHEN length(version) = 35 THEN
    instr('123456789ABCDEF', substr(hex(version), 67, 1)) * 4096 + instr('123456789ABCDEF', substr(hex(version), 68, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(version), 69, 1)) * 16 + instr('123456789ABCDEF', substr(hex(version), 70, 1)) * 1
    ELSE 0 END) VIRTUAL;

-- +goose Down
ALTER TABLE chat_boosts DROP COLUMN normaliser_version;
ALTER TABLE business_connections DROP COLUMN normaliser_version;
ALTER TABLE interactions DROP COLUMN normaliser_version;
ALTER TABLE poll_answers DROP COLUMN normaliser_version;
ALTER TABLE polls DROP COLUMN normaliser_version;
ALTER TABLE reaction_counts DROP COLUMN normaliser_version;
ALTER TABLE reactions DROP COLUMN normaliser_version;
ALTER TABLE memberships DROP COLUMN normaliser_version;
ALTER TABLE media_files DROP COLUMN normaliser_version;
ALTER TABLE message_revisions DROP COLUMN normaliser_version;
ALTER TABLE users DROP COLUMN normaliser_version;
ALTER TABLE chats DROP COLUMN normaliser_version;
DROP TABLE erasures;
DROP TABLE replays;
DROP TABLE subscribers;
ALTER TABLE media DROP COLUMN rest;
ALTER TABLE messages DROP COLUMN rest;
ALTER TABLE platform_events DROP COLUMN received_at;
