-- +goose Up

-- The accounts that the fleet listens to over MTProto. account_id is NULL until somebody has signed in. queue_id names the Redis that the
-- updates up to the stored state were put into.
CREATE TABLE connectors (
    id             text        PRIMARY KEY,
    label          text        NOT NULL UNIQUE,
    kind           text        NOT NULL,
    status         text        NOT NULL,
    account_id     bigint      UNIQUE,
    username       text        NOT NULL DEFAULT '',
    device_model   text        NOT NULL DEFAULT '',
    system_version text        NOT NULL DEFAULT '',
    app_version    text        NOT NULL DEFAULT '',
    last_error     text        NOT NULL DEFAULT '',
    last_update_at timestamptz,
    queue_id       text        NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL
);

-- The keys that Telegram knows connectors by, sealed, newest version last. attempt is the sign-in that made one.
CREATE TABLE connector_sessions (
    connector_id text        NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    version      bigint      NOT NULL,
    attempt      bigint      NOT NULL,
    authorised   boolean     NOT NULL,
    sealed       text        NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (connector_id, version)
);

-- How far sign-ins have come: one row a connector, for the last that was begun.
CREATE TABLE sign_ins (
    connector_id     text        PRIMARY KEY REFERENCES connectors (id) ON DELETE CASCADE,
    attempt          bigint      NOT NULL,
    method           text        NOT NULL,
    step             text        NOT NULL,
    sealed_phone     text        NOT NULL DEFAULT '',
    sealed_code      text        NOT NULL DEFAULT '',
    sealed_password  text        NOT NULL DEFAULT '',
    sealed_token     text        NOT NULL DEFAULT '',
    sealed_code_hash text        NOT NULL DEFAULT '',
    code_by          text        NOT NULL DEFAULT '',
    sealed_qr        text        NOT NULL DEFAULT '',
    qr_expires_at    timestamptz,
    problem          text        NOT NULL DEFAULT '',
    retry_at         timestamptz,
    expires_at       timestamptz NOT NULL
);

-- How far the updates of a connector were taken: the common ones in the row whose channel_id is 0, those of each channel in its own.
CREATE TABLE update_states (
    connector_id    text    NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    channel_id      bigint  NOT NULL,
    pts             integer NOT NULL,
    qts             integer NOT NULL DEFAULT 0,
    date            integer NOT NULL DEFAULT 0,
    seq             integer NOT NULL DEFAULT 0,
    access_hash     bigint  NOT NULL DEFAULT 0,
    inaccessible_at timestamptz,
    PRIMARY KEY (connector_id, channel_id)
);

-- States that can be gone back to, when a Redis took over that lacks the last updates: the rows of update_states as JSON.
CREATE TABLE update_checkpoints (
    connector_id text        NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    taken_at     timestamptz NOT NULL,
    states       jsonb       NOT NULL,
    PRIMARY KEY (connector_id, taken_at)
);

-- What accounts prove with that they may see users and channels; each is good for one account.
CREATE TABLE access_hashes (
    account_id bigint NOT NULL,
    peer       bigint NOT NULL,
    hash       bigint NOT NULL,
    version    bytea  NOT NULL,
    PRIMARY KEY (account_id, peer)
);

-- +goose Down
DROP TABLE access_hashes, update_checkpoints, update_states, sign_ins, connector_sessions, connectors;
