-- +goose Up

-- What Telegram is known not to have told, once for each hole. closed_at is empty until it was filled, or found to be impossible to fill.
CREATE TABLE holes (
    id               bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    account_id       bigint      NOT NULL,
    chat_id          bigint      NOT NULL,
    reason           text        NOT NULL,
    from_pts         bigint      NOT NULL,
    to_pts           bigint      NOT NULL,
    below_message_id bigint      NOT NULL,
    found_at         timestamptz NOT NULL,
    status           text        NOT NULL DEFAULT 'open',
    closed_at        timestamptz,
    PRIMARY KEY (account_id, chat_id, reason, from_pts, to_pts, below_message_id)
);

-- Deletions of which Telegram does not say the chat: a message of a private chat or of a basic group, by its number within the account.
CREATE TABLE chatless_deletions (
    scope      bigint      NOT NULL,
    message_id bigint      NOT NULL,
    deleted_at timestamptz NOT NULL,
    PRIMARY KEY (scope, message_id)
);

-- Where the scope is an account's, the number alone names a message.
CREATE INDEX messages_number ON messages (scope, message_id) WHERE scope > 0;

-- +goose Down
DROP INDEX messages_number;
DROP TABLE chatless_deletions, holes;
