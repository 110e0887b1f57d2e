package mtproto_test

import (
	"bytes"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
)

func FuzzNormalise(f *testing.F) {
	files, err := filepath.Glob("testdata/*.tl")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		env := replayed(f, file)
		f.Add(env.Request, env.Raw)
	}
	for _, pair := range pairs {
		f.Add([]byte(nil), encoded(f, updates(newPost(pair.tl))))
	}
	f.Add([]byte(nil), binaryOf(tg.UpdatesTypeID, 0x1cb5c415, 0x7fffffff))
	f.Fuzz(func(t *testing.T, request, raw []byte) {
		if len(raw) > 64<<10 {
			return
		}
		env := push(t, &tg.UpdatesTooLong{})
		env.Request, env.Raw = request, raw
		requireVerdict(t, env)
	})
}

// TestSpoiltContainersAreReadOrRejected puts other words into each place of each recorded container, and cuts it there.
func TestSpoiltContainersAreReadOrRejected(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.tl")
	require.NoError(t, err)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			env := replayed(t, file)
			whole := env.Raw
			for at := 0; at+4 <= len(whole); at += 4 {
				for _, word := range []uint32{0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x1cb5c415, tg.MessageEmptyTypeID, tg.PeerUserTypeID} {
					env.Raw = append(append(bytes.Clone(whole[:at]), binaryOf(word)...), whole[at+4:]...)
					requireVerdict(t, env)
				}
				env.Raw = whole[:at]
				requireVerdict(t, env)
			}
		})
	}
}

// requireVerdict checks that env is read, or rejected, for good.
func requireVerdict(t *testing.T, env ingest.Envelope) {
	t.Helper()
	raw := bytes.Clone(env.Raw)
	cs, err := mtproto.New().Normalise(env)
	require.True(t, bytes.Equal(raw, env.Raw), "the envelope is read only")
	again, errAgain := mtproto.New().Normalise(env)
	require.Equal(t, err, errAgain)
	if err != nil {
		require.Zero(t, cs)
		var rejected *normalise.Rejected
		require.ErrorAs(t, err, &rejected)
		require.Equal(t, fault.Permanent, fault.ClassOf(err))
		require.Regexp(t, `^normalise: [a-z_]+: [a-z_0-9: ]+$`, err.Error())
		return
	}
	require.True(t, reflect.DeepEqual(cs, again), "one envelope, one change set")
	require.Regexp(t, "^[a-z_]{1,64}$", cs.Update.Kind)
	require.Equal(t, ingest.HashOf(raw), cs.Update.Hash)
	requireSound(t, cs)
}

// requireSound checks what the archive asks of a change set.
func requireSound(t *testing.T, cs content.ChangeSet) {
	t.Helper()
	for i := range cs.Messages {
		m := &cs.Messages[i]
		require.Positive(t, m.Key.MessageID)
		require.NotZero(t, m.Key.ChatID)
		require.NotEmpty(t, m.Kind)
		require.False(t, m.Date.IsZero())
		require.NotEmpty(t, m.Version)
		for _, text := range []string{m.Text, m.AuthorSignature, m.Forward.SenderName, string(m.Content)} {
			requireStorable(t, text)
		}
	}
	for i := range cs.Deletions {
		require.Positive(t, cs.Deletions[i].Key.MessageID)
		require.True(t, cs.Deletions[i].Key.ChatID != 0 || cs.Deletions[i].Key.Scope == account)
	}
	for i := range cs.Chats {
		require.NotZero(t, cs.Chats[i].ID)
		requireStorable(t, cs.Chats[i].Title)
	}
	for i := range cs.Users {
		require.Positive(t, cs.Users[i].ID)
		requireStorable(t, cs.Users[i].FirstName)
	}
	for i := range cs.Memberships {
		require.Positive(t, cs.Memberships[i].UserID)
		require.NotEmpty(t, cs.Memberships[i].Status)
	}
}

func requireStorable(t *testing.T, text string) {
	t.Helper()
	require.NotContains(t, text, "\x00")
	require.Equal(t, []byte(text), bytes.ToValidUTF8([]byte(text), nil))
}
