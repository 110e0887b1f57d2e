-- +goose Up

-- The ledger: every update as it came. day is the UTC day of received_at; SQLite has no partitions.
-- hash is part of the key because an update_id alone is not unique after Telegram drew a new one at random.
CREATE TABLE updates (
    day                text        NOT NULL,
    source             text        NOT NULL,
    update_id          integer      NOT NULL,
    hash               blob       NOT NULL,
    received_at        datetime NOT NULL,
    kind               text        NOT NULL,
    chat_id            integer,
    origin             integer    NOT NULL,
    format             integer    NOT NULL,
    layer              integer     NOT NULL,
    normaliser_version integer     NOT NULL,
    request            blob,
    payload            blob       NOT NULL,
    PRIMARY KEY (day, source, update_id, hash)
);
CREATE INDEX updates_received_at ON updates (received_at);

CREATE TABLE chats (
    id         integer  PRIMARY KEY,
    version    blob   NOT NULL,
    type       text    NOT NULL,
    title      text    NOT NULL,
    username   text    NOT NULL,
    first_name text    NOT NULL,
    last_name  text    NOT NULL,
    is_forum   boolean NOT NULL
);

CREATE TABLE users (
    id               integer  PRIMARY KEY,
    version          blob   NOT NULL,
    is_bot           boolean NOT NULL,
    first_name       text    NOT NULL,
    last_name        text    NOT NULL,
    username         text    NOT NULL,
    is_premium       boolean NOT NULL,
    language_version blob   NOT NULL,
    language_code    text    NOT NULL
);

CREATE TABLE messages (
    scope                  integer      NOT NULL,
    chat_id                integer      NOT NULL,
    message_id             integer      NOT NULL,
    version                blob       NOT NULL,
    kind                   text        NOT NULL,
    normaliser_version     integer     NOT NULL,
    message_thread_id      integer,
    is_topic_message       boolean     NOT NULL,
    from_id                integer,
    sender_chat_id         integer,
    via_bot_id             integer,
    author_signature       text,
    business_connection_id text,
    date                   datetime NOT NULL,
    edit_date              datetime,
    text                   text        NOT NULL,
    entities               text,
    media_group_id         text,
    reply_to_chat_id       integer,
    reply_to_message_id    integer,
    quote                  text,
    forward_origin_type    text,
    forward_date           datetime,
    forward_from_id        integer,
    forward_sender_name    text,
    forward_chat_id        integer,
    forward_message_id     integer,
    forward_signature      text,
    is_automatic_forward   boolean     NOT NULL,
    deleted_at             datetime,
    PRIMARY KEY (scope, chat_id, message_id)
);
CREATE INDEX messages_chat_date ON messages (chat_id, date);
CREATE INDEX messages_media_group ON messages (chat_id, media_group_id) WHERE media_group_id IS NOT NULL;

CREATE TABLE message_revisions (
    scope        integer      NOT NULL,
    chat_id      integer      NOT NULL,
    message_id   integer      NOT NULL,
    content_hash blob       NOT NULL,
    -- version and date are those of the oldest snapshot with this content.
    version      blob       NOT NULL,
    date         datetime NOT NULL,
    kind         text        NOT NULL,
    text         text        NOT NULL,
    entities     text,
    PRIMARY KEY (scope, chat_id, message_id, content_hash)
);

CREATE TABLE media (
    scope          integer   NOT NULL,
    chat_id        integer   NOT NULL,
    message_id     integer   NOT NULL,
    ordinal        integer NOT NULL,
    kind           text     NOT NULL,
    file_unique_id text     NOT NULL,
    file_name      text,
    mime_type      text,
    size_bytes     integer,
    width          integer,
    height         integer,
    duration_ms    integer,
    PRIMARY KEY (scope, chat_id, message_id, ordinal)
);
CREATE INDEX media_file ON media (file_unique_id);

-- What of a file belongs to one account: its file_id there, and where it was seen.
CREATE TABLE media_files (
    file_unique_id text   NOT NULL,
    source         text   NOT NULL,
    version        blob  NOT NULL,
    file_id        text   NOT NULL,
    scope          integer NOT NULL,
    chat_id        integer NOT NULL,
    message_id     integer NOT NULL,
    PRIMARY KEY (file_unique_id, source)
);

CREATE TABLE platform_events (
    sequence   integer      PRIMARY KEY AUTOINCREMENT,
    id         text        NOT NULL UNIQUE,
    type       text        NOT NULL,
    source     text        NOT NULL,
    subject    text        NOT NULL,
    time       datetime NOT NULL,
    data       text       NOT NULL,
    created_at datetime NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now'))
);

CREATE TABLE dead_letters (
    id                 integer      PRIMARY KEY AUTOINCREMENT,
    source             text        NOT NULL,
    update_id          integer      NOT NULL,
    hash               blob       NOT NULL,
    class              text        NOT NULL,
    error              text        NOT NULL,
    normaliser_version integer     NOT NULL,
    received_at        datetime NOT NULL,
    died_at            datetime NOT NULL,
    origin             integer    NOT NULL,
    format             integer    NOT NULL,
    layer              integer     NOT NULL,
    request            blob,
    payload            blob       NOT NULL,
    UNIQUE (source, hash)
);

-- One row is one batch of envelopes, written as the queue's tasks are. A row may be claimed once due_at has come; a claim
-- moves due_at ahead, so that the claims of a dead worker end by themselves.
CREATE TABLE spool (
    id         integer      PRIMARY KEY AUTOINCREMENT,
    due_at     datetime NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    oldest_at  datetime NOT NULL,
    updates    integer     NOT NULL,
    payload    blob       NOT NULL
);
CREATE INDEX spool_due_at ON spool (due_at);

CREATE TABLE bots (
    id           text        PRIMARY KEY,
    bot_id       integer      NOT NULL UNIQUE,
    username     text        NOT NULL,
    delivery     text        NOT NULL,
    secret_hash  blob       NOT NULL,
    sealed_token text        NOT NULL,
    created_at   datetime NOT NULL
);

CREATE TABLE leases (
    name       text        PRIMARY KEY,
    owner      text        NOT NULL,
    epoch      integer      NOT NULL,
    expires_at datetime NOT NULL
);

-- One row, written to find out whether the database takes writes.
CREATE TABLE probes (
    id     integer PRIMARY KEY,
    writes integer NOT NULL
);

-- +goose Down
DROP TABLE probes;
DROP TABLE leases;
DROP TABLE bots;
DROP TABLE spool;
DROP TABLE dead_letters;
DROP TABLE platform_events;
DROP TABLE media_files;
DROP TABLE media;
DROP TABLE message_revisions;
DROP TABLE messages;
DROP TABLE users;
DROP TABLE chats;
DROP TABLE updates;
