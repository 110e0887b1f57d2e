package listener_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

func TestSignInByCode(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	anna := f.user("1")
	c := f.connect(anna)
	require.Equal(t, anna.ID, f.waitStatus(c, account.Connected).AccountID)
	s, found, err := f.db.Sessions().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.True(t, found && s.Authorised)
}

func TestSignInAsksAgainAfterAWrongCodeAndEndsWithAnExpiredOne(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	anna := f.user("1")
	c := f.add("anna", account.UserAccount)
	f.begin(c, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(anna.Phone) })
	f.wait(c, account.CodeWanted)
	f.give(c, account.CodeWanted, func(s *account.SignIn) { s.Step, s.SealedCode = account.CodeGiven, f.sealed("99999") })
	f.eventually(func() bool { return f.wait(c, account.CodeWanted).Problem == account.WrongCode }, "the code is refused")
	f.telegram.ExpireCode(anna)
	f.give(c, account.CodeWanted, func(s *account.SignIn) { s.Step, s.SealedCode = account.CodeGiven, f.sealed(anna.Code) })
	require.Equal(t, account.ExpiredCode, f.wait(c, account.Failed).Problem)
	f.waitStatus(c, account.New)
}

func TestSignInWithAPassword(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	anna := f.telegram.AddAccount(datacentre.Account{FirstName: "anna", Phone: "4915112345678", Code: "12345", Password: "swordfish"})
	c := f.add("anna", account.UserAccount)
	f.begin(c, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(anna.Phone) })
	f.wait(c, account.CodeWanted)
	f.give(c, account.CodeWanted, func(s *account.SignIn) { s.Step, s.SealedCode = account.CodeGiven, f.sealed(anna.Code) })
	f.wait(c, account.PasswordWanted)
	f.give(c, account.PasswordWanted, func(s *account.SignIn) { s.Step, s.SealedPassword = account.PasswordGiven, f.sealed("cod") })
	f.eventually(func() bool { return f.wait(c, account.PasswordWanted).Problem == account.WrongPassword }, "the password is refused")
	f.give(c, account.PasswordWanted, func(s *account.SignIn) { s.Step, s.SealedPassword = account.PasswordGiven, f.sealed("swordfish") })
	f.wait(c, account.Done)
	require.NotContains(t, f.log.String(), "swordfish")
	require.NotContains(t, f.log.String(), anna.Phone)
}

func TestSignInByQRCode(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"told": false, "the signal is missed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, datacentre.Config{})
			f.start()
			anna := f.user("1")
			c := f.add("anna", account.UserAccount)
			f.begin(c, account.ByQR, func(*account.SignIn) {})
			url, err := f.ring.Open(seal.PurposeSignIn, f.wait(c, account.QRShown).SealedQR)
			require.NoError(t, err)
			require.True(t, f.telegram.Scan(anna, tokenOf(t, url), silent))
			f.wait(c, account.Done)
			require.Equal(t, anna.ID, f.waitStatus(c, account.Connected).AccountID)
		})
	}
}

// A new key takes three answers of Telegram's, beside what is to be computed for it.
func TestSignInOverASlowNetwork(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	slow := testkit.NewProxy(t, f.addr)
	slow.Delay(2 * time.Second)
	f.addr = slow.Addr()
	f.start()
	anna := f.user("1")
	c := f.add("anna", account.UserAccount)
	f.begin(c, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(anna.Phone) })
	f.wait(c, account.CodeWanted)
}

func TestTelegramOutOfReachIsTold(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	network := testkit.NewProxy(t, f.addr)
	f.addr = network.Addr()
	anna := f.user("1")
	channel := f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	c := f.add("anna", account.UserAccount)
	network.Cut()
	f.start()
	f.begin(c, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(anna.Phone) })
	f.eventually(func() bool { return f.stands("failing") }, "nobody can sign in")
	network.Heal()
	f.wait(c, account.CodeWanted)
	require.True(t, f.stands("signing_in"))
	f.give(c, account.CodeWanted, func(s *account.SignIn) { s.Step, s.SealedCode = account.CodeGiven, f.sealed(anna.Code) })
	f.waitStatus(c, account.Connected)
	f.followed(channel)
	require.True(t, f.stands("connected"))

	network.Cut()
	f.eventually(func() bool { return f.stands("failing") }, "the connection is lost")
	network.Heal()
	f.eventually(func() bool { return f.stands("connected") }, "and found again")
	require.Equal(t, 2, strings.Count(f.log.String(), `level=WARN msg="no connection to Telegram`), "as often as it began")
}

func TestSignInOfABot(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	bot := f.telegram.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	c := f.add("bot", account.BotAccount)
	f.begin(c, account.ByToken, func(s *account.SignIn) { s.SealedToken = f.sealed("42:wrong") })
	require.Equal(t, account.WrongToken, f.wait(c, account.Failed).Problem)
	f.waitStatus(c, account.New)
	f.begin(c, account.ByToken, func(s *account.SignIn) { s.SealedToken = f.sealed("42:abc") })
	f.wait(c, account.Done)
	require.Equal(t, bot.ID, f.waitStatus(c, account.Connected).AccountID)
}

func TestSignInSaysWhyItWasRefused(t *testing.T) {
	t.Parallel()
	for problem, phone := range map[account.SignInProblem]string{
		account.WrongPhone: "1", account.BannedPhone: "4915199999999", account.FloodWait: "4915188888888",
	} {
		t.Run(string(problem), func(t *testing.T) {
			t.Parallel()
			f := setup(t, datacentre.Config{})
			f.telegram.AddAccount(datacentre.Account{FirstName: "b", Phone: "4915199999999", Banned: true})
			f.telegram.AddAccount(datacentre.Account{FirstName: "c", Phone: "4915188888888"})
			if problem == account.FloodWait {
				f.telegram.Flood("auth.sendCode", time.Hour)
			}
			f.start()
			c := f.add("anna", account.UserAccount)
			f.begin(c, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(phone) })
			now := f.wait(c, account.Failed)
			require.Equal(t, problem, now.Problem)
			require.Equal(t, problem == account.FloodWait, now.RetryAt.After(time.Now().Add(50*time.Minute)))
		})
	}
}

// Another listener asks for the same password on the same key: the state of the sign-in is Telegram's and the database's.
func TestSignInIsCarriedOnByAnotherListener(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	first := f.start()
	anna := f.telegram.AddAccount(datacentre.Account{FirstName: "anna", Phone: "4915112345678", Code: "12345", Password: "swordfish"})
	c := f.add("anna", account.UserAccount)
	f.begin(c, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(anna.Phone) })
	f.wait(c, account.CodeWanted)
	first.stop()
	second := f.start()
	f.give(c, account.CodeWanted, func(s *account.SignIn) { s.Step, s.SealedCode = account.CodeGiven, f.sealed(anna.Code) })
	f.wait(c, account.PasswordWanted)
	second.stop()
	f.start()
	f.give(c, account.PasswordWanted, func(s *account.SignIn) { s.Step, s.SealedPassword = account.PasswordGiven, f.sealed("swordfish") })
	f.wait(c, account.Done)
	require.Equal(t, 1, f.telegram.Calls("auth.sendCode"))
}

// A connector that nothing is to be done for is not taken and given back in a circle until the list of connectors is fresh.
func TestAConnectorWithNothingToDoIsLeftAlone(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	running := f.start()
	c := f.add("bot", account.BotAccount)
	f.begin(c, account.ByToken, func(s *account.SignIn) { s.SealedToken = f.sealed("42:wrong") })
	f.wait(c, account.Failed)
	f.waitStatus(c, account.New)
	f.eventually(func() bool { return f.metric("tgfleet_mtproto_clients") == 0 }, "the listener leaves the connector alone")
	running.stop()
	l, taken, err := f.db.Leases().Acquire(t.Context(), "connector:"+c.ID, "test", time.Minute)
	require.NoError(t, err)
	require.True(t, taken)
	require.LessOrEqual(t, l.Epoch, int64(3), "held once, perhaps twice")
}
