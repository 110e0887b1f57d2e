-- +goose Up

-- claimed is true while a claim is under way: a claim that finds it true follows one that ended without a word, which is a crash.
-- marked is the part of the batch that the claimer runs by itself at the moment, and blamed those that were marked as a claim
-- ended in a crash, each with a space after it, once for each crash.
ALTER TABLE spool
    ADD COLUMN claimed boolean NOT NULL DEFAULT false,
    ADD COLUMN crashes integer NOT NULL DEFAULT 0,
    ADD COLUMN marked  integer,
    ADD COLUMN blamed  text    NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE spool DROP COLUMN claimed, DROP COLUMN crashes, DROP COLUMN marked, DROP COLUMN blamed;
