-- +goose Up

-- From which message on a channel, or the chats that an account numbers together, are followed; 0 when unknown.
ALTER TABLE update_states ADD COLUMN followed_from bigint NOT NULL DEFAULT 0;

-- History of chats that is read, newest first. What is read are the messages below begin_id (0: from the newest) down to floor_id, which is not
-- read itself; cursor_id is the oldest that is safe. hole_id is the hole that it fills; 0 when an operator asked for it. mark_id is the cursor of
-- mark_at, and mark_before_id that of ten minutes or more before: where it goes back to when a Redis took over that lacks the last pages.
CREATE TABLE backfills (
    id           integer     PRIMARY KEY AUTOINCREMENT,
    connector_id text        NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    chat_id      bigint      NOT NULL,
    hole_id      bigint      NOT NULL DEFAULT 0,
    takeout      boolean     NOT NULL DEFAULT false,
    since        datetime,
    begin_id     bigint      NOT NULL DEFAULT 0,
    floor_id     bigint      NOT NULL DEFAULT 0,
    top_id       bigint      NOT NULL DEFAULT 0,
    cursor_id    bigint      NOT NULL DEFAULT 0,
    total        bigint      NOT NULL DEFAULT 0,
    mark_before_id bigint    NOT NULL DEFAULT 0,
    mark_id      bigint      NOT NULL DEFAULT 0,
    mark_at      datetime,
    messages     bigint      NOT NULL DEFAULT 0,
    pages        bigint      NOT NULL DEFAULT 0,
    status       text        NOT NULL DEFAULT 'waiting',
    reason       text        NOT NULL DEFAULT '',
    created_at   datetime NOT NULL,
    started_at   datetime,
    ended_at     datetime
);

CREATE INDEX backfills_open ON backfills (connector_id) WHERE ended_at IS NULL;
CREATE INDEX backfills_chat ON backfills (chat_id);

-- A hole is filled once; two holders of one account, one after the other, plan the same.
CREATE UNIQUE INDEX backfills_hole ON backfills (hole_id, connector_id, chat_id) WHERE hole_id <> 0;

CREATE INDEX holes_open ON holes (account_id) WHERE status = 'open';

-- Until when Telegram lets an account wait with a method; the next holder keeps to it.
CREATE TABLE flood_waits (
    connector_id text        NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    method       text        NOT NULL,
    until        datetime NOT NULL,
    PRIMARY KEY (connector_id, method)
);

-- +goose Down
DROP INDEX holes_open;
DROP TABLE flood_waits;
DROP TABLE backfills;
ALTER TABLE update_states DROP COLUMN followed_from;
