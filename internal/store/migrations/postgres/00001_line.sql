-- +goose Up

-- The ledger: every update as it came. A table of its own for each UTC day of received_at, made ahead by the worker's
-- housekeeping; updates_default takes what no partition covers, so that a missing partition never stops the line.
-- hash is part of the key because an update_id alone is not unique after Telegram drew a new one at random.
CREATE TABLE updates (
    day                date        NOT NULL,
    source             text        NOT NULL,
    update_id          bigint      NOT NULL,
    hash               bytea       NOT NULL,
    received_at        timestamptz NOT NULL,
    kind               text        NOT NULL,
    chat_id            bigint,
    origin             smallint    NOT NULL,
    format             smallint    NOT NULL,
    layer              integer     NOT NULL,
    normaliser_version integer     NOT NULL,
    request            bytea,
    payload            bytea       NOT NULL,
    PRIMARY KEY (day, source, update_id, hash)
) PARTITION BY RANGE (day);
CREATE TABLE updates_default PARTITION OF updates DEFAULT;
CREATE INDEX updates_received_at ON updates (received_at);

-- version stays out of every index, and the fillfactor leaves room in the page, so that a new snapshot is a HOT update.
CREATE TABLE chats (
    id         bigint  PRIMARY KEY,
    version    bytea   NOT NULL,
    type       text    NOT NULL,
    title      text    NOT NULL,
    username   text    NOT NULL,
    first_name text    NOT NULL,
    last_name  text    NOT NULL,
    is_forum   boolean NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE users (
    id               bigint  PRIMARY KEY,
    version          bytea   NOT NULL,
    is_bot           boolean NOT NULL,
    first_name       text    NOT NULL,
    last_name        text    NOT NULL,
    username         text    NOT NULL,
    is_premium       boolean NOT NULL,
    language_version bytea   NOT NULL,
    language_code    text    NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE messages (
    scope                  bigint      NOT NULL,
    chat_id                bigint      NOT NULL,
    message_id             bigint      NOT NULL,
    version                bytea       NOT NULL,
    kind                   text        NOT NULL,
    normaliser_version     integer     NOT NULL,
    message_thread_id      bigint,
    is_topic_message       boolean     NOT NULL,
    from_id                bigint,
    sender_chat_id         bigint,
    via_bot_id             bigint,
    author_signature       text,
    business_connection_id text,
    date                   timestamptz NOT NULL,
    edit_date              timestamptz,
    text                   text        NOT NULL,
    entities               jsonb,
    media_group_id         text,
    reply_to_chat_id       bigint,
    reply_to_message_id    bigint,
    quote                  text,
    forward_origin_type    text,
    forward_date           timestamptz,
    forward_from_id        bigint,
    forward_sender_name    text,
    forward_chat_id        bigint,
    forward_message_id     bigint,
    forward_signature      text,
    is_automatic_forward   boolean     NOT NULL,
    deleted_at             timestamptz,
    PRIMARY KEY (scope, chat_id, message_id)
) WITH (fillfactor = 90);
CREATE INDEX messages_chat_date ON messages (chat_id, date);
CREATE INDEX messages_media_group ON messages (chat_id, media_group_id) WHERE media_group_id IS NOT NULL;

CREATE TABLE message_revisions (
    scope        bigint      NOT NULL,
    chat_id      bigint      NOT NULL,
    message_id   bigint      NOT NULL,
    content_hash bytea       NOT NULL,
    -- version and date are those of the oldest snapshot with this content.
    version      bytea       NOT NULL,
    date         timestamptz NOT NULL,
    kind         text        NOT NULL,
    text         text        NOT NULL,
    entities     jsonb,
    PRIMARY KEY (scope, chat_id, message_id, content_hash)
);

CREATE TABLE media (
    scope          bigint   NOT NULL,
    chat_id        bigint   NOT NULL,
    message_id     bigint   NOT NULL,
    ordinal        smallint NOT NULL,
    kind           text     NOT NULL,
    file_unique_id text     NOT NULL,
    file_name      text,
    mime_type      text,
    size_bytes     bigint,
    width          integer,
    height         integer,
    duration_ms    bigint,
    PRIMARY KEY (scope, chat_id, message_id, ordinal)
);
CREATE INDEX media_file ON media (file_unique_id);

-- What of a file belongs to one account: its file_id there, and where it was seen.
CREATE TABLE media_files (
    file_unique_id text   NOT NULL,
    source         text   NOT NULL,
    version        bytea  NOT NULL,
    file_id        text   NOT NULL,
    scope          bigint NOT NULL,
    chat_id        bigint NOT NULL,
    message_id     bigint NOT NULL,
    PRIMARY KEY (file_unique_id, source)
) WITH (fillfactor = 80);

CREATE TABLE platform_events (
    sequence   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid        NOT NULL UNIQUE,
    type       text        NOT NULL,
    source     text        NOT NULL,
    subject    text        NOT NULL,
    time       timestamptz NOT NULL,
    data       jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dead_letters (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source             text        NOT NULL,
    update_id          bigint      NOT NULL,
    hash               bytea       NOT NULL,
    class              text        NOT NULL,
    error              text        NOT NULL,
    normaliser_version integer     NOT NULL,
    received_at        timestamptz NOT NULL,
    died_at            timestamptz NOT NULL,
    origin             smallint    NOT NULL,
    format             smallint    NOT NULL,
    layer              integer     NOT NULL,
    request            bytea,
    payload            bytea       NOT NULL,
    UNIQUE (source, hash)
);

-- One row is one batch of envelopes, written as the queue's tasks are. A row may be claimed once due_at has come; a claim
-- moves due_at ahead, so that the claims of a dead worker end by themselves.
CREATE TABLE spool (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at     timestamptz NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    oldest_at  timestamptz NOT NULL,
    updates    integer     NOT NULL,
    payload    bytea       NOT NULL
);
CREATE INDEX spool_due_at ON spool (due_at);

CREATE TABLE bots (
    id           text        PRIMARY KEY,
    bot_id       bigint      NOT NULL UNIQUE,
    username     text        NOT NULL,
    delivery     text        NOT NULL,
    secret_hash  bytea       NOT NULL,
    sealed_token text        NOT NULL,
    created_at   timestamptz NOT NULL
);

CREATE TABLE leases (
    name       text        PRIMARY KEY,
    owner      text        NOT NULL,
    epoch      bigint      NOT NULL,
    expires_at timestamptz NOT NULL
);

-- One row, written to find out whether the database takes writes.
CREATE TABLE probes (
    id     smallint PRIMARY KEY,
    writes bigint NOT NULL
);

-- +goose Down
DROP TABLE probes, leases, bots, spool, dead_letters, platform_events, media_files, media, message_revisions, messages, users, chats, updates;
