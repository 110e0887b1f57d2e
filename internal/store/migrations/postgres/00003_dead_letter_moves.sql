-- +goose Up

-- What people did with dead letters, who and when: one row for each letter that was retried or dropped, written in the transaction that
-- took it away. source and hash name the update for ever, so that one that died again is found under its new letter.
CREATE TABLE dead_letter_moves (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    moved_at           timestamptz NOT NULL,
    kind               text        NOT NULL,
    who                text        NOT NULL,
    reason             text        NOT NULL,
    letter_id          bigint      NOT NULL UNIQUE,
    source             text        NOT NULL,
    update_id          bigint      NOT NULL,
    hash               bytea       NOT NULL,
    class              text        NOT NULL,
    normaliser_version integer     NOT NULL,
    died_at            timestamptz NOT NULL
);
CREATE INDEX dead_letter_moves_update ON dead_letter_moves (source, hash);

-- +goose Down
DROP TABLE dead_letter_moves;
