//go:build !race

package listener_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// Two clients speak with the test server while one of them makes its key, which is where gotd's tgtest has a data race.
func TestLoginCodesLeaveTheListenerSealed(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	anna := f.user("1")
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.connect(anna)
	f.followed(friend)
	// A second sign-in sends its code to the first session; a push that is lost comes by a difference.
	for _, lost := range []float64{0, 1} {
		f.telegram.SetFaults(datacentre.Faults{Lost: lost})
		other := f.add("other", account.UserAccount)
		f.begin(other, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(anna.Phone) })
		f.wait(other, account.CodeWanted)
		f.telegram.SetFaults(datacentre.Faults{})
		f.followed(friend)
		require.NoError(t, f.db.Connectors().Remove(t.Context(), other.ID))
	}
	sealed := func() (all []ingest.Envelope) {
		for _, e := range f.sink.all() {
			require.NotContains(t, string(e.Raw), "Login code")
			if e.Format == ingest.SealedTL {
				all = append(all, e)
			}
		}
		return all
	}
	f.eventually(func() bool { return len(sealed()) >= 2 }, "both codes come through")
	for _, e := range sealed() {
		plain, err := f.ring.Open(seal.PurposeServiceMessage, string(e.Raw))
		require.NoError(t, err)
		require.Contains(t, plain.Reveal(), anna.Code)
	}
	require.NotContains(t, f.log.String(), "Login code")
}
