-- +goose Up

-- content is what Telegram tells under the name of kind, where that is neither text nor a file.
ALTER TABLE messages ADD COLUMN content jsonb;

-- What each user is in a chat now.
CREATE TABLE memberships (
    chat_id    bigint      NOT NULL,
    user_id    bigint      NOT NULL,
    version    bytea       NOT NULL,
    status     text        NOT NULL,
    is_member  boolean     NOT NULL,
    date       timestamptz NOT NULL,
    until_date timestamptz,
    actor_id   bigint,
    rest       jsonb,
    PRIMARY KEY (chat_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id);

-- How each user, or chat (a negative actor_id), reacts to a message now: an array, empty once the reaction was taken back.
CREATE TABLE reactions (
    scope      bigint      NOT NULL,
    chat_id    bigint      NOT NULL,
    message_id bigint      NOT NULL,
    actor_id   bigint      NOT NULL,
    version    bytea       NOT NULL,
    date       timestamptz NOT NULL,
    reactions  jsonb       NOT NULL,
    PRIMARY KEY (scope, chat_id, message_id, actor_id)
);
CREATE INDEX reactions_actor ON reactions (actor_id);

-- How many reactions of each type a message has whose actors are anonymous.
CREATE TABLE reaction_counts (
    scope       bigint      NOT NULL,
    chat_id     bigint      NOT NULL,
    message_id  bigint      NOT NULL,
    version     bytea       NOT NULL,
    date        timestamptz NOT NULL,
    total_count bigint      NOT NULL,
    reactions   jsonb       NOT NULL,
    PRIMARY KEY (scope, chat_id, message_id)
);

CREATE TABLE polls (
    id                      text    PRIMARY KEY,
    version                 bytea   NOT NULL,
    question                text    NOT NULL,
    type                    text    NOT NULL,
    is_closed               boolean NOT NULL,
    is_anonymous            boolean NOT NULL,
    allows_multiple_answers boolean NOT NULL,
    total_voter_count       bigint  NOT NULL,
    close_date              timestamptz,
    options                 jsonb   NOT NULL,
    rest                    jsonb
);

-- A voter is a user, or a chat (a negative id). The array is empty once the vote was taken back.
CREATE TABLE poll_answers (
    poll_id    text   NOT NULL,
    voter_id   bigint NOT NULL,
    version    bytea  NOT NULL,
    option_ids jsonb  NOT NULL,
    rest       jsonb,
    PRIMARY KEY (poll_id, voter_id)
);

-- What people asked of a bot or did for it: one row an update, whose key it has. date is when the update came where Telegram tells none.
CREATE TABLE interactions (
    source            text        NOT NULL,
    update_id         bigint      NOT NULL,
    hash              bytea       NOT NULL,
    version           bytea       NOT NULL,
    kind              text        NOT NULL,
    id                text,
    from_id           bigint,
    scope             bigint      NOT NULL,
    chat_id           bigint,
    message_id        bigint,
    inline_message_id text,
    data              text,
    date              timestamptz NOT NULL,
    rest              jsonb,
    PRIMARY KEY (source, update_id, hash)
);
CREATE INDEX interactions_from ON interactions (from_id, date);
CREATE INDEX interactions_chat ON interactions (chat_id, date) WHERE chat_id IS NOT NULL;

CREATE TABLE business_connections (
    id           text        PRIMARY KEY,
    version      bytea       NOT NULL,
    user_id      bigint,
    user_chat_id bigint,
    date         timestamptz NOT NULL,
    is_enabled   boolean     NOT NULL,
    rest         jsonb
);

-- Of a boost of which only the removal is known the version is empty.
CREATE TABLE chat_boosts (
    chat_id         bigint NOT NULL,
    boost_id        text   NOT NULL,
    version         bytea  NOT NULL,
    add_date        timestamptz,
    expiration_date timestamptz,
    source_type     text,
    user_id         bigint,
    rest            jsonb,
    removed_at      timestamptz,
    PRIMARY KEY (chat_id, boost_id)
);

-- Basic groups that became supergroups.
CREATE TABLE chat_aliases (
    chat_id             bigint      NOT NULL,
    migrated_to_chat_id bigint      NOT NULL,
    date                timestamptz NOT NULL,
    PRIMARY KEY (chat_id, migrated_to_chat_id)
);
CREATE INDEX chat_aliases_to ON chat_aliases (migrated_to_chat_id);

-- +goose Down
DROP TABLE chat_aliases, chat_boosts, business_connections, interactions, poll_answers, polls, reaction_counts, reactions, memberships;
ALTER TABLE messages DROP COLUMN content;
