package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Connectors checks the repositories of connectors, of their sessions, their sign-ins, and of how far their updates were taken.
func Connectors(t *testing.T, open Open) {
	behaviours{
		"a connector comes back as it was added":                               connectorIsKept,
		"a label belongs to one connector":                                     connectorLabelIsUnique,
		"whoever lost the lease writes nothing":                                connectorIsFenced,
		"an expired lease that nobody took still lets its holder write":        connectorFenceIsTheEpoch,
		"an account is one connector, and a connector one account":             connectorIsOneAccount,
		"a disabled connector stays disabled until it is enabled":              connectorStaysDisabled,
		"the time of the last update only grows":                               connectorLastUpdateGrows,
		"a removed connector leaves nothing behind":                            connectorIsRemoved,
		"no unauthorised session takes the place of an authorised one":         sessionIsKept,
		"a sign-in's session is its own until somebody has signed in":          sessionOfSignIn,
		"old sessions go, but never the newest authorised one":                 sessionsAreTrimmed,
		"a sign-in goes from turn to turn":                                     signInGoesOn,
		"a turn that is not theirs any more is refused":                        signInRefusesOldTurns,
		"what was given for a sign-in does not outlive it":                     signInForgets,
		"one sign-in of a connector at a time, and none while it is connected": signInIsAlone,
		"states are kept, the common one and that of each channel":             statesAreKept,
		"a state can be put back to a checkpoint":                              stateIsRewound,
		"many channels are saved at once":                                      manyChannelsAreSaved,
	}.check(t, open)
}

// held returns a connector with an account to be, and the lease of its holder.
func held(t *testing.T, db *store.DB, label string) (account.Connector, account.Lease) {
	t.Helper()
	c := account.Connector{
		ID: "id-" + label, Label: label, Kind: account.UserAccount, Status: account.New,
		Device: account.Device{Model: "m", SystemVersion: "s", AppVersion: "a"}, CreatedAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	require.NoError(t, db.Connectors().Create(t.Context(), c))
	return c, acquire(t, db.Leases(), "connector:"+c.ID, "listener", late)
}

// taken lets another listener take over from lease.
func taken(t *testing.T, db *store.DB, lease account.Lease) account.Lease {
	t.Helper()
	require.NoError(t, db.Leases().Release(t.Context(), lease))
	return acquire(t, db.Leases(), lease.Name, "another listener", late)
}

func requireClass(t *testing.T, class fault.Class, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, class, fault.ClassOf(err), "%v", err)
}

func find(t *testing.T, db *store.DB, ref string) account.Connector {
	t.Helper()
	c, err := db.Connectors().Find(t.Context(), ref)
	require.NoError(t, err)
	return c
}

func connectorIsKept(t *testing.T, db *store.DB) {
	c, _ := held(t, db, "desk")
	require.Equal(t, c, find(t, db, c.ID))
	require.Equal(t, c, find(t, db, "desk"))
	list, err := db.Connectors().List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []account.Connector{c}, list)
	_, err = db.Connectors().Find(t.Context(), "nobody")
	requireClass(t, fault.NotFound, err)
}

func connectorLabelIsUnique(t *testing.T, db *store.DB) {
	c, _ := held(t, db, "desk")
	c.ID = "another"
	requireClass(t, fault.Permanent, db.Connectors().Create(t.Context(), c))
}

// writes are all writes of a holder.
func writes(t *testing.T, db *store.DB, id string, attempt int64) map[string]func(account.Lease) error {
	t.Helper()
	ctx := t.Context()
	return map[string]func(account.Lease) error{
		"status": func(l account.Lease) error {
			return db.Connectors().SetStatus(ctx, l, id, account.Quarantined, "why")
		},
		"touched": func(l account.Lease) error { return db.Connectors().Touched(ctx, l, id, time.Now()) },
		"session": func(l account.Lease) error {
			_, err := db.Sessions().Save(ctx, l, id, account.Session{Authorised: true, Sealed: "new"}, 0)
			return err
		},
		"signed in": func(l account.Lease) error {
			return db.Connectors().SignedIn(ctx, l, id, account.Identity{AccountID: 7, Username: "u", SessionVersion: 1})
		},
		"state": func(l account.Lease) error {
			return db.UpdateStates().Save(ctx, l, id, &account.UpdateState{Pts: 99}, []account.ChannelState{{ChannelID: 1, Pts: 99}})
		},
		"checkpoint": func(l account.Lease) error { return db.UpdateStates().Checkpoint(ctx, l, id) },
		"rewind": func(l account.Lease) error {
			_, err := db.UpdateStates().Rewind(ctx, l, id, 0)
			return err
		},
		"queue": func(l account.Lease) error { return db.UpdateStates().SetQueueID(ctx, l, id, "another") },
		"sign-in": func(l account.Lease) error {
			return db.SignIns().Advance(ctx, l, account.SignIn{ConnectorID: id, Attempt: attempt, Step: account.CodeWanted})
		},
	}
}

func connectorIsFenced(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	_, err := db.Sessions().Save(t.Context(), lease, c.ID, account.Session{Sealed: "old"}, 0)
	require.NoError(t, err)
	require.NoError(t, db.UpdateStates().Save(t.Context(), lease, c.ID, &account.UpdateState{Pts: 5}, nil))
	begun, err := db.SignIns().Begin(t.Context(), account.SignIn{ConnectorID: c.ID, Method: account.ByQR, Step: account.Begun})
	require.NoError(t, err)
	taken(t, db, lease)
	before := find(t, db, c.ID)
	for name, write := range writes(t, db, c.ID, begun.Attempt) {
		requireClass(t, fault.NotFound, write(lease))
		require.Equal(t, before, find(t, db, c.ID), name)
	}
	state, _, err := db.UpdateStates().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, account.UpdateState{Pts: 5}, state)
	session, _, err := db.Sessions().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, account.Session{Version: 1, Sealed: "old"}, session)
	signIn, err := db.SignIns().Find(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, account.Begun, signIn.Step)
}

func connectorFenceIsTheEpoch(t *testing.T, db *store.DB) {
	c, first := held(t, db, "desk")
	require.NoError(t, db.Leases().Release(t.Context(), first))
	short, ok, err := db.Leases().Acquire(t.Context(), first.Name, "listener", time.Millisecond)
	require.NoError(t, err)
	require.True(t, ok)
	eventually(t, func() bool {
		live, err := db.Leases().Live(t.Context(), "connector:")
		return err == nil && len(live) == 0
	}, "the lease expires")
	require.NoError(t, db.Connectors().Touched(t.Context(), short, c.ID, time.Now()))
}

func connectorIsOneAccount(t *testing.T, db *store.DB) {
	one, oneLease := held(t, db, "one")
	two, twoLease := held(t, db, "two")
	for _, c := range []struct {
		account.Connector
		account.Lease
	}{{one, oneLease}, {two, twoLease}} {
		_, err := db.Sessions().Save(t.Context(), c.Lease, c.ID, account.Session{Sealed: "s"}, 0)
		require.NoError(t, err)
	}
	require.NoError(t, db.Connectors().SignedIn(t.Context(), oneLease, one.ID, account.Identity{AccountID: 7, Username: "u", SessionVersion: 1}))
	require.Equal(t, int64(7), find(t, db, "one").AccountID)
	require.Equal(t, account.Connected, find(t, db, "one").Status)
	requireClass(t, fault.Permanent, db.Connectors().SignedIn(t.Context(), twoLease, two.ID, account.Identity{AccountID: 7, Username: "u", SessionVersion: 1}))
	requireClass(t, fault.Permanent, db.Connectors().SignedIn(t.Context(), oneLease, one.ID, account.Identity{AccountID: 8, Username: "v", SessionVersion: 1}))
	require.Zero(t, find(t, db, "two").AccountID)
	require.Equal(t, "u", find(t, db, "one").Username)
}

func connectorStaysDisabled(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	requireClass(t, fault.Permanent, db.Connectors().Enable(t.Context(), c.ID))
	_, err := db.Sessions().Save(t.Context(), lease, c.ID, account.Session{Sealed: "s"}, 0)
	require.NoError(t, err)
	require.NoError(t, db.Connectors().SignedIn(t.Context(), lease, c.ID, account.Identity{AccountID: 7, Username: "u", SessionVersion: 1}))
	require.NoError(t, db.Connectors().Disable(t.Context(), c.ID))
	require.NoError(t, db.Connectors().SetStatus(t.Context(), lease, c.ID, account.NeedsLogin, "AUTH_KEY_UNREGISTERED"))
	require.Equal(t, account.Disabled, find(t, db, c.ID).Status)
	require.NoError(t, db.Connectors().Enable(t.Context(), c.ID))
	require.Equal(t, account.Connected, find(t, db, c.ID).Status)
}

func connectorLastUpdateGrows(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	at := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	for _, next := range []time.Time{at, at.Add(-time.Hour)} {
		require.NoError(t, db.Connectors().Touched(t.Context(), lease, c.ID, next))
		require.Equal(t, at, find(t, db, c.ID).LastUpdateAt)
	}
}

func connectorIsRemoved(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	begun, err := db.SignIns().Begin(t.Context(), account.SignIn{ConnectorID: c.ID, Method: account.ByQR, Step: account.Begun})
	require.NoError(t, err)
	_, err = db.Sessions().Save(t.Context(), lease, c.ID, account.Session{Sealed: "s"}, begun.Attempt)
	require.NoError(t, err)
	require.NoError(t, db.UpdateStates().Save(t.Context(), lease, c.ID, &account.UpdateState{Pts: 5}, nil))
	require.NoError(t, db.UpdateStates().Checkpoint(t.Context(), lease, c.ID))
	require.NoError(t, db.Connectors().Remove(t.Context(), c.ID))
	requireClass(t, fault.NotFound, db.Connectors().Remove(t.Context(), c.ID))
	_, found, err := db.Sessions().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, found)
	_, err = db.SignIns().Find(t.Context(), c.ID)
	requireClass(t, fault.NotFound, err)
	_, found, err = db.UpdateStates().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, found)
}

func save(t *testing.T, db *store.DB, lease account.Lease, s account.Session, attempt int64) int64 {
	t.Helper()
	version, err := db.Sessions().Save(t.Context(), lease, strings.TrimPrefix(lease.Name, "connector:"), s, attempt)
	require.NoError(t, err)
	return version
}

func load(t *testing.T, db *store.DB, id string) account.Session {
	t.Helper()
	s, found, err := db.Sessions().Load(t.Context(), id)
	require.NoError(t, err)
	require.True(t, found)
	return s
}

func sessionIsKept(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	save(t, db, lease, account.Session{Authorised: true, Sealed: "good"}, 0)
	_, err := db.Sessions().Save(t.Context(), lease, c.ID, account.Session{Sealed: "made anew"}, 0)
	requireClass(t, fault.Permanent, err)
	require.Equal(t, "good", load(t, db, c.ID).Sealed)
	save(t, db, lease, account.Session{Authorised: true, Sealed: "better"}, 0)
	require.Equal(t, "better", load(t, db, c.ID).Sealed)
}

func sessionOfSignIn(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	save(t, db, lease, account.Session{Authorised: true, Sealed: "good"}, 0)
	begun, err := db.SignIns().Begin(t.Context(), account.SignIn{ConnectorID: c.ID, Method: account.ByQR, Step: account.Begun})
	require.NoError(t, err)
	version := save(t, db, lease, account.Session{Sealed: "pending"}, begun.Attempt)
	require.Equal(t, "good", load(t, db, c.ID).Sealed)
	pending, found, err := db.Sessions().LoadPending(t.Context(), c.ID, begun.Attempt)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, account.Session{Version: version, Sealed: "pending"}, pending)
	require.NoError(t, db.Connectors().SignedIn(t.Context(), lease, c.ID, account.Identity{AccountID: 7, Username: "u", SessionVersion: version}))
	require.Equal(t, "pending", load(t, db, c.ID).Sealed)
	require.NoError(t, db.SignIns().Cancel(t.Context(), c.ID, begun.Attempt))
	_, err = db.Sessions().Save(t.Context(), lease, c.ID, account.Session{Sealed: "late"}, begun.Attempt)
	requireClass(t, fault.Permanent, err)
}

func sessionsAreTrimmed(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	save(t, db, lease, account.Session{Authorised: true, Sealed: "first"}, 0)
	save(t, db, lease, account.Session{Authorised: true, Sealed: "good"}, 0)
	var last int64
	for range 20 {
		begun, err := db.SignIns().Begin(t.Context(), account.SignIn{ConnectorID: c.ID, Method: account.ByQR, Step: account.Begun})
		require.NoError(t, err)
		version := save(t, db, lease, account.Session{Sealed: "pending"}, begun.Attempt)
		require.Greater(t, version, last)
		last = version
		if version > 10 {
			_, found, err := db.Sessions().LoadPending(t.Context(), c.ID, begun.Attempt-7)
			require.NoError(t, err)
			require.False(t, found, "the versions before the last five are gone")
		}
		require.NoError(t, db.SignIns().Cancel(t.Context(), c.ID, begun.Attempt))
	}
	require.Equal(t, "good", load(t, db, c.ID).Sealed)
}

func begin(t *testing.T, db *store.DB, id string) account.SignIn {
	t.Helper()
	begun, err := db.SignIns().Begin(t.Context(), account.SignIn{
		ConnectorID: id, Method: account.ByCode, Step: account.Begun, SealedPhone: "phone",
	})
	require.NoError(t, err)
	return begun
}

func signInGoesOn(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	begun := begin(t, db, c.ID)
	require.Equal(t, account.SigningIn, find(t, db, c.ID).Status)
	begun.Step, begun.SealedCodeHash, begun.CodeBy = account.CodeWanted, "hash", "app"
	require.NoError(t, db.SignIns().Advance(t.Context(), lease, begun))
	require.NoError(t, db.SignIns().Give(t.Context(), c.ID, begun.Attempt, account.CodeWanted, func(s *account.SignIn) {
		s.Step, s.SealedCode = account.CodeGiven, "code"
	}))
	now, err := db.SignIns().Find(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, account.SignIn{
		ConnectorID: c.ID, Method: account.ByCode, Step: account.CodeGiven, Attempt: begun.Attempt, SealedPhone: "phone",
		SealedCode: "code", SealedCodeHash: "hash", CodeBy: "app", ExpiresAt: begun.ExpiresAt,
	}, now)
}

func signInRefusesOldTurns(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	begun := begin(t, db, c.ID)
	requireClass(t, fault.Permanent, db.SignIns().Give(t.Context(), c.ID, begun.Attempt, account.CodeWanted, func(*account.SignIn) {}))
	require.NoError(t, db.SignIns().Cancel(t.Context(), c.ID, begun.Attempt))
	requireClass(t, fault.Permanent, db.SignIns().Advance(t.Context(), lease, begun))
	again := begin(t, db, c.ID)
	require.Equal(t, begun.Attempt+1, again.Attempt)
	requireClass(t, fault.Permanent, db.SignIns().Advance(t.Context(), lease, begun))
	require.NoError(t, db.SignIns().Cancel(t.Context(), c.ID, begun.Attempt), "an old attempt's end changes nothing")
	now, err := db.SignIns().Find(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, account.Begun, now.Step)
}

func signInForgets(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	full := begin(t, db, c.ID)
	full.Step, full.SealedCode, full.SealedPassword, full.SealedToken = account.PasswordGiven, "c", "p", "t"
	full.SealedCodeHash, full.SealedQR = "h", "q"
	require.NoError(t, db.SignIns().Advance(t.Context(), lease, full))
	full.Step, full.Problem = account.Failed, account.BannedPhone
	require.NoError(t, db.SignIns().Advance(t.Context(), lease, full))
	now, err := db.SignIns().Find(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, account.SignIn{
		ConnectorID: c.ID, Method: account.ByCode, Step: account.Failed, Attempt: full.Attempt, Problem: account.BannedPhone,
		ExpiresAt: full.ExpiresAt,
	}, now)

	cancelled := begin(t, db, c.ID)
	require.NoError(t, db.SignIns().Cancel(t.Context(), c.ID, cancelled.Attempt))
	require.Equal(t, account.New, find(t, db, c.ID).Status)
	now, err = db.SignIns().Find(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, account.Cancelled, now.Step)
	require.Empty(t, now.SealedPhone)
}

func signInIsAlone(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	begun := begin(t, db, c.ID)
	_, err := db.SignIns().Begin(t.Context(), begun)
	requireClass(t, fault.Permanent, err)
	version := save(t, db, lease, account.Session{Sealed: "s"}, begun.Attempt)
	require.NoError(t, db.Connectors().SignedIn(t.Context(), lease, c.ID, account.Identity{AccountID: 7, Username: "u", SessionVersion: version}))
	require.NoError(t, db.SignIns().Cancel(t.Context(), c.ID, begun.Attempt))
	_, err = db.SignIns().Begin(t.Context(), begun)
	requireClass(t, fault.Permanent, err)
}

func statesAreKept(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	_, known, err := db.UpdateStates().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, known)
	away := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	channels := []account.ChannelState{
		{ChannelID: 5, Pts: 50, AccessHash: 55, FollowedFrom: 500}, {ChannelID: 6, Pts: 60, AccessHash: -66, Inaccessible: away},
	}
	require.NoError(t, db.UpdateStates().Save(t.Context(), lease, c.ID, nil, channels))
	_, known, err = db.UpdateStates().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, known, "channels alone are no state")
	state := account.UpdateState{Pts: 1, Qts: 2, Date: 3, Seq: 4, FollowedFrom: 5}
	require.NoError(t, db.UpdateStates().Save(t.Context(), lease, c.ID, &state, nil))
	got, known, err := db.UpdateStates().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, state, got)
	kept, err := db.UpdateStates().Channels(t.Context(), c.ID)
	require.NoError(t, err)
	require.ElementsMatch(t, channels, kept)
	followings, err := db.UpdateStates().Followings(t.Context())
	require.NoError(t, err)
	require.Equal(t, []account.Following{
		{ConnectorID: c.ID, From: 5},
		{ConnectorID: c.ID, ChatID: -1_000_000_000_005, From: 500},
		{ConnectorID: c.ID, ChatID: -1_000_000_000_006, Inaccessible: away},
	}, followings)
	require.NoError(t, db.UpdateStates().SetQueueID(t.Context(), lease, c.ID, "redis-1"))
	id, err := db.UpdateStates().QueueID(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, "redis-1", id)
}

func stateIsRewound(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	done, err := db.UpdateStates().Rewind(t.Context(), lease, c.ID, 0)
	require.NoError(t, err)
	require.False(t, done, "there is nothing to go back to")
	old := account.UpdateState{Pts: 1, Qts: 1, Date: 1, Seq: 1, FollowedFrom: 100}
	require.NoError(t, db.UpdateStates().Save(t.Context(), lease, c.ID, &old, []account.ChannelState{
		{ChannelID: 5, Pts: 50, AccessHash: 7, FollowedFrom: 500},
	}))
	require.NoError(t, db.UpdateStates().Checkpoint(t.Context(), lease, c.ID))
	later := account.UpdateState{Pts: 9, Qts: 9, Date: 9, Seq: 9, FollowedFrom: 100}
	require.NoError(t, db.UpdateStates().Save(t.Context(), lease, c.ID, &later, []account.ChannelState{
		{ChannelID: 5, Pts: 90, AccessHash: 7, FollowedFrom: 500}, {ChannelID: 6, Pts: 60},
	}))
	require.NoError(t, db.UpdateStates().Checkpoint(t.Context(), lease, c.ID))
	done, err = db.UpdateStates().Rewind(t.Context(), lease, c.ID, time.Hour)
	require.NoError(t, err)
	require.True(t, done, "with no checkpoint that is old enough the oldest counts")
	state, _, err := db.UpdateStates().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, old, state)
	channels, err := db.UpdateStates().Channels(t.Context(), c.ID)
	require.NoError(t, err)
	require.ElementsMatch(t, []account.ChannelState{
		{ChannelID: 5, Pts: 50, AccessHash: 7, FollowedFrom: 500}, {ChannelID: 6, Pts: 60},
	}, channels, "from where on a channel is followed does not change")
	done, err = db.UpdateStates().Rewind(t.Context(), lease, c.ID, 0)
	require.NoError(t, err)
	require.True(t, done)
	state, _, err = db.UpdateStates().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, later, state, "the newest that is old enough")
}

func manyChannelsAreSaved(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	channels := make([]account.ChannelState, 2500)
	for i := range channels {
		channels[i] = account.ChannelState{ChannelID: int64(i + 1), Pts: i + 1}
	}
	for range 2 {
		require.NoError(t, db.UpdateStates().Save(t.Context(), lease, c.ID, nil, channels))
	}
	kept, err := db.UpdateStates().Channels(t.Context(), c.ID)
	require.NoError(t, err)
	require.ElementsMatch(t, channels, kept)
}
