-- +goose Up

-- When the update came that the event follows from, for a day of the ledger is kept until its events are relayed. Where a program that does
-- not know the column leaves it empty, created_at stands for it.
ALTER TABLE platform_events ADD COLUMN received_at timestamptz;

-- Who takes events from the outbox: each has taken all whose sequence is up to relayed_through.
CREATE TABLE subscribers (
    name            text   PRIMARY KEY,
    relayed_through bigint NOT NULL
);

-- The times that the ledger was read again. A replay has come to the row that the cursor names, and finished_at is empty until it has come to
-- the end. Who runs it holds it until held_until, and says so again with every page.
CREATE TABLE replays (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    normaliser_version integer     NOT NULL,
    received_from      timestamptz,
    received_to        timestamptz,
    source             text        NOT NULL,
    kind               text        NOT NULL,
    cursor_day         date,
    cursor_source      text        NOT NULL DEFAULT '',
    cursor_update_id   bigint      NOT NULL DEFAULT 0,
    cursor_hash        bytea       NOT NULL DEFAULT '',
    updates            bigint      NOT NULL DEFAULT 0,
    changed            bigint      NOT NULL DEFAULT 0,
    refused            bigint      NOT NULL DEFAULT 0,
    started_at         timestamptz NOT NULL,
    held_until         timestamptz NOT NULL,
    finished_at        timestamptz
);

-- Whose content was erased, and when: what was received until then is never written again. A poll has a row for itself, because what comes of
-- it later does not say whose it was. removed is the receipt.
CREATE TABLE erasures (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject    text        NOT NULL,
    subject_id text        NOT NULL,
    erased_at  timestamptz NOT NULL,
    who        text        NOT NULL,
    reason     text        NOT NULL,
    removed    jsonb
);

-- What Telegram tells beyond the columns, by its own names.
ALTER TABLE messages ADD COLUMN rest jsonb;
ALTER TABLE media ADD COLUMN rest jsonb;

-- Which normaliser wrote a row is the last word of its version; see content.Version.
ALTER TABLE chats ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE users ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE message_revisions ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE media_files ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE memberships ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE reactions ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE reaction_counts ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE polls ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE poll_answers ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE interactions ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE business_connections ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;
ALTER TABLE chat_boosts ADD COLUMN normaliser_version integer GENERATED ALWAYS AS
    (CASE WHEN length(version) = 35 THEN get_byte(version, 33) * 256 + get_byte(version, 34) ELSE 0 END) STORED;

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
DROP TABLE erasures, replays, subscribers;
ALTER TABLE media DROP COLUMN rest;
ALTER TABLE messages DROP COLUMN rest;
ALTER TABLE platform_events DROP COLUMN received_at;
