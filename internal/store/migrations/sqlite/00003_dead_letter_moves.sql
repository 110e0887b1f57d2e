-- +goose Up

-- What people did with dead letters, who and when: one row for each letter that was retried or dropped, written in the transaction that
-- took it away. source and hash name the update for ever, so that one that died again is found under its new letter.
CREATE TABLE dead_letter_moves (
    id                 integer  PRIMARY KEY AUTOINCREMENT,
    moved_at           datetime NOT NULL,
    kind               text     NOT NULL,
    who                text     NOT NULL,
    reason             text     NOT NULL,
    letter_id          integer  NOT NULL UNIQUE,
    source             text     NOT NULL,
    update_id          integer  NOT NULL,
    hash               blob     NOT NULL,
    class              text     NOT NULL,
    normaliser_version integer  NOT NULL,
    died_at            datetime NOT NULL
);
CREATE INDEX dead_letter_moves_update ON dead_letter_moves (source, hash);

-- +goose Down
DROP TABLE dead_letter_moves;
