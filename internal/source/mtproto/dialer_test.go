package mtproto_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/source/mtproto"
)

func TestKeysAreMadeAFewAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		makeKey, err := mtproto.KeyMaker(mtproto.Telegram{})
		require.NoError(t, err)
		began := time.Now()
		var made []func()
		for range mtproto.KeysAtOnce() {
			one, err := makeKey(t.Context())
			require.NoError(t, err)
			made = append(made, one)
		}
		require.Zero(t, time.Since(began))
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = makeKey(hurried)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		made[0]()
		made[0]()
		_, err = makeKey(t.Context())
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(began), "one made way")
		_, err = makeKey(t.Context())
		require.NoError(t, err)
		require.Equal(t, mtproto.KeyWithin, time.Since(began), "and only one, until those that hang have had their time")
	})
}
