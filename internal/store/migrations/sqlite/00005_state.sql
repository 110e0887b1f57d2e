-- +goose Up

-- content is what Telegram tells under the name of kind, where that is neither text nor a file.
ALTER TABLE messages ADD COLUMN content text;

-- What each user is in a chat now.
CREATE TABLE memberships (
    chat_id    integer  NOT NULL,
    user_id    integer  NOT NULL,
    version    blob     NOT NULL,
    status     text     NOT NULL,
    is_member  boolean  NOT NULL,
    date       datetime NOT NULL,
    until_date datetime,
    actor_id   integer,
    rest       text,
    PRIMARY KEY (chat_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id);

-- How each user, or chat (a negative actor_id), reacts to a message now: an array, empty once the reaction was taken back.
CREATE TABLE reactions (
    scope      integer  NOT NULL,
    chat_id    integer  NOT NULL,
    message_id integer  NOT NULL,
    actor_id   integer  NOT NULL,
    version    blob     NOT NULL,
    date       datetime NOT NULL,
    reactions  text     NOT NULL,
    PRIMARY KEY (scope, chat_id, message_id, actor_id)
);
CREATE INDEX reactions_actor ON reactions (actor_id);

-- How many reactions of each type a message has whose actors are anonymous.
CREATE TABLE reaction_counts (
    scope       integer  NOT NULL,
    chat_id     integer  NOT NULL,
    message_id  integer  NOT NULL,
    version     blob     NOT NULL,
    date        datetime NOT NULL,
    total_count integer  NOT NULL,
    reactions   text     NOT NULL,
    PRIMARY KEY (scope, chat_id, message_id)
);

CREATE TABLE polls (
    id                      text    PRIMARY KEY,
    version                 blob    NOT NULL,
    question                text    NOT NULL,
    type                    text    NOT NULL,
    is_closed               boolean NOT NULL,
    is_anonymous            boolean NOT NULL,
    allows_multiple_answers boolean NOT NULL,
    total_voter_count       integer NOT NULL,
    close_date              datetime,
    options                 text    NOT NULL,
    rest                    text
);

-- A voter is a user, or a chat (a negative id). The array is empty once the vote was taken back.
CREATE TABLE poll_answers (
    poll_id    text    NOT NULL,
    voter_id   integer NOT NULL,
    version    blob    NOT NULL,
    option_ids text    NOT NULL,
    rest       text,
    PRIMARY KEY (poll_id, voter_id)
);

-- What people asked of a bot or did for it: one row an update, whose key it has. date is when the update came where Telegram tells none.
CREATE TABLE interactions (
    source            text     NOT NULL,
    update_id         integer  NOT NULL,
    hash              blob     NOT NULL,
    version           blob     NOT NULL,
    kind              text     NOT NULL,
    id                text,
    from_id           integer,
    scope             integer  NOT NULL,
    chat_id           integer,
    message_id        integer,
    inline_message_id text,
    data              text,
    date              datetime NOT NULL,
    rest              text,
    PRIMARY KEY (source, update_id, hash)
);
CREATE INDEX interactions_from ON interactions (from_id, date);
CREATE INDEX interactions_chat ON interactions (chat_id, date) WHERE chat_id IS NOT NULL;

CREATE TABLE business_connections (
    id           text     PRIMARY KEY,
    version      blob     NOT NULL,
    user_id      integer,
    user_chat_id integer,
    date         datetime NOT NULL,
    is_enabled   boolean  NOT NULL,
    rest         text
);

-- Of a boost of which only the removal is known the version is empty.
CREATE TABLE chat_boosts (
    chat_id         integer NOT NULL,
    boost_id        text    NOT NULL,
    version         blob    NOT NULL,
    add_date        datetime,
    expiration_date datetime,
    source_type     text,
    user_id         integer,
    rest            text,
    removed_at      datetime,
    PRIMARY KEY (chat_id, boost_id)
);

-- Basic groups that became supergroups.
CREATE TABLE chat_aliases (
    chat_id             integer  NOT NULL,
    migrated_to_chat_id integer  NOT NULL,
    date                datetime NOT NULL,
    PRIMARY KEY (chat_id, migrated_to_chat_id)
);
CREATE INDEX chat_aliases_to ON chat_aliases (migrated_to_chat_id);

-- +goose Down
DROP TABLE chat_aliases;
DROP TABLE chat_boosts;
DROP TABLE business_connections;
DROP TABLE interactions;
DROP TABLE poll_answers;
DROP TABLE polls;
DROP TABLE reaction_counts;
DROP TABLE reactions;
DROP TABLE memberships;
ALTER TABLE messages DROP COLUMN content;
