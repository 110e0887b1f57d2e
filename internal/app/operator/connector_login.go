package operator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"rsc.io/qr"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/pause"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	// stepEvery is how often it is looked whether a listener has done its turn.
	stepEvery = 300 * time.Millisecond
	// silentAfter is after how long without a listener's turn it is said that one has to run.
	silentAfter = 8 * time.Second
)

func connectorLogin(env Env) *cobra.Command {
	var flags struct {
		phone, token string
		qr           bool
	}
	cmd := addJSON(&cobra.Command{
		Use:   "login CONNECTOR",
		Short: "Sign an account in, through the listener that will hold it",
		Long: `Signs an account in. A listener speaks with Telegram; this command only passes on what you type, sealed, and shows what Telegram asks for: a
phone number and the code that it sends, or a QR code to scan with a client that is signed in (Settings, Devices, Link Desktop Device), and
the password of two-step verification where there is one. A bot signs in with its token. It has to be done within ten minutes; Ctrl-C gives up.

What is asked for is read from the terminal, or line by line from standard input.` + settings(),
		Example: `  tgfleet connector login harbour-desk
  tgfleet connector login harbour-desk --qr
  tgfleet connector login news-bot --token - < token.txt`,
		Args: cobra.ExactArgs(1),
	})
	cmd.Flags().StringVar(&flags.phone, "phone", "", "the account's phone number; asked for when it is not given")
	cmd.Flags().StringVar(&flags.token, "token", "", "a bot's token; - reads it from standard input")
	cmd.Flags().BoolVar(&flags.qr, "qr", false, "show a QR code to scan instead of asking for a phone number")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withConnector(env, cmd, args[0], func(ctx context.Context, s *session, c *account.Connector) error {
			ring, err := seal.ParseRing(s.cfg.SecretKeys)
			if err != nil {
				return fmt.Errorf("SECRET_KEYS: %w", err)
			}
			l := &login{session: s, ring: ring, connector: c, in: bufio.NewReader(cmd.InOrStdin()), out: cmd.ErrOrStderr()}
			if c.Status == account.Connected {
				return fmt.Errorf("%s is signed in and connected already; \"tgfleet connector disable %s\" first, to sign in anew", c.Label, c.Label)
			}
			begin, err := l.beginning(flags.phone, flags.token, flags.qr)
			if err != nil {
				return err
			}
			return l.run(ctx, begin)
		}, "SECRET_KEYS")
	}
	return cmd
}

// login is the operator's side of a sign-in.
type login struct {
	*session
	ring      *seal.Ring
	connector *account.Connector
	in        *bufio.Reader
	// out is where people are spoken to; what programs read goes to standard output at the end.
	out io.Writer
	// shown is the QR code that is on the screen, sealed.
	shown string
}

// beginning returns the sign-in to begin, with what is needed for its first step.
func (l *login) beginning(phone, token string, byQR bool) (account.SignIn, error) {
	begin := account.SignIn{ConnectorID: l.connector.ID, Step: account.Begun}
	var err error
	switch {
	case l.connector.Kind == account.BotAccount:
		if token == "" {
			token = "-"
		}
		given, readErr := readToken(l.in, token)
		if readErr != nil {
			return begin, readErr
		}
		begin.Method = account.ByToken
		begin.SealedToken, err = l.seal(given.Reveal())
	case token != "":
		return begin, errors.New("--token is for bots: this account was added without --bot")
	case byQR:
		begin.Method = account.ByQR
	default:
		if phone == "" {
			if phone, err = l.ask("Phone number, with the country's code"); err != nil {
				return begin, err
			}
		}
		begin.Method = account.ByCode
		begin.SealedPhone, err = l.seal(digitsOf(phone))
	}
	return begin, err
}

// digitsOf returns a phone number as Telegram reads it, however it was written.
func digitsOf(phone string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, phone)
}

// run begins the sign-in and does the operator's turns until it has ended.
func (l *login) run(ctx context.Context, begin account.SignIn) error {
	now, err := l.db.SignIns().Begin(ctx, begin)
	if err != nil {
		return err
	}
	waiting, told := time.Now(), false
	for {
		before := now.Step
		if now, err = l.db.SignIns().Find(ctx, l.connector.ID); err != nil {
			return err
		}
		if now.Attempt != begin.Attempt && begin.Attempt != 0 {
			return errors.New("somebody else has begun another sign-in of this account")
		}
		begin.Attempt = now.Attempt
		if now.Step != before {
			waiting, told = time.Now(), true
		}
		if now.Step.Ended() {
			return l.ended(ctx, &now)
		}
		if err := l.turn(ctx, &now); err != nil {
			return err
		}
		if !told && time.Since(waiting) > silentAfter {
			fmt.Fprintln(l.out, "No answer yet: is mtproto-listener running, with this database and SECRET_KEYS, and does it reach Telegram?")
			told = true
		}
		if !pause.For(ctx, stepEvery) {
			return l.giveUp(ctx, &now)
		}
	}
}

// turn does what is the operator's to do at this step.
func (l *login) turn(ctx context.Context, now *account.SignIn) error {
	switch now.Step {
	case account.CodeWanted:
		l.complain(now)
		code, err := l.ask(fmt.Sprintf("Code that Telegram sent (by %s)", now.CodeBy))
		if err != nil {
			return errors.Join(err, l.giveUp(ctx, now))
		}
		return l.give(ctx, now, account.CodeGiven, func(s *account.SignIn, sealed string) { s.SealedCode = sealed }, digitsOf(code))
	case account.PasswordWanted:
		l.complain(now)
		password, err := l.askSecret("Password of the two-step verification")
		if err != nil {
			return errors.Join(err, l.giveUp(ctx, now))
		}
		return l.give(ctx, now, account.PasswordGiven, func(s *account.SignIn, sealed string) { s.SealedPassword = sealed }, password)
	case account.QRShown:
		return l.showQR(now)
	default:
		return nil
	}
}

// complain says why Telegram did not take what was given before.
func (l *login) complain(now *account.SignIn) {
	if now.Problem != "" {
		fmt.Fprintln(l.out, problemText(now)+" Try again.")
	}
}

// give passes on what was typed.
func (l *login) give(
	ctx context.Context, now *account.SignIn, step account.SignInStep, put func(s *account.SignIn, sealed string), text string,
) error {
	sealed, err := l.seal(text)
	if err != nil {
		return err
	}
	return l.db.SignIns().Give(ctx, now.ConnectorID, now.Attempt, now.Step, func(s *account.SignIn) {
		put(s, sealed)
		s.Step, s.Problem = step, ""
	})
}

func (l *login) giveUp(ctx context.Context, now *account.SignIn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(errors.New("given up: nobody is signed in"), l.db.SignIns().Cancel(ctx, now.ConnectorID, now.Attempt))
}

// ended says how it ended.
func (l *login) ended(ctx context.Context, now *account.SignIn) error {
	if now.Step != account.Done {
		return errors.New(problemText(now))
	}
	signedIn, err := l.db.Connectors().Find(ctx, l.connector.ID)
	if err != nil {
		return err
	}
	line := connectorLineOf(&signedIn)
	return l.print(line, func(w io.Writer) { row(w, "Signed in:", line.Label) })
}

// problemText says what went wrong, and what to do.
func problemText(now *account.SignIn) string {
	switch now.Problem {
	case account.WrongPhone:
		return "Telegram does not take this phone number: give it with the country's code, for example +49 151 23456789."
	case account.BannedPhone:
		return "Telegram has banned this phone number: https://telegram.org/support is the only way."
	case account.UnknownPhone:
		return "No account has this phone number: sign up in a client first."
	case account.WrongCode:
		return "The code is wrong."
	case account.ExpiredCode:
		return "The code has expired: begin again for another one."
	case account.WrongPassword:
		return "The password is wrong."
	case account.WrongToken:
		return "Telegram does not know this token: ask @BotFather."
	case account.FloodWait:
		return fmt.Sprintf("Telegram wants this account to wait until %s.", now.RetryAt.Local().Format(time.TimeOnly+" on "+time.DateOnly))
	case account.TimedOut:
		return "The ten minutes are over: begin again."
	case account.OtherAccount:
		return "That is another account than this connector had before, or one that another connector is: add a connector for it."
	case "":
		return "The sign-in was cancelled."
	default:
		return "Telegram refused the sign-in; the listener's log says how."
	}
}

// showQR draws the code when it is another than the one on the screen.
func (l *login) showQR(now *account.SignIn) error {
	if now.SealedQR == l.shown {
		return nil
	}
	l.shown = now.SealedQR
	url, err := l.ring.Open(seal.PurposeSignIn, now.SealedQR)
	if err != nil {
		return fmt.Errorf("open the QR code: %w", err)
	}
	code, err := qr.Encode(url.Reveal(), qr.L)
	if err != nil {
		return fmt.Errorf("draw the QR code: %w", err)
	}
	fmt.Fprint(l.out, drawQR(code))
	fmt.Fprintln(l.out, "Scan it with Telegram on a phone that is signed in: Settings, Devices, Link Desktop Device.")
	return nil
}

// quietZone is how many empty modules a QR code needs around it.
const quietZone = 2

// drawQR draws a code with half blocks, two modules in one character, light on dark: what is black on paper is left dark.
func drawQR(code *qr.Code) string {
	var b strings.Builder
	light := func(x, y int) bool { return !code.Black(x, y) }
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		for x := -quietZone; x < code.Size+quietZone; x++ {
			switch upper, lower := light(x, y), light(x, y+1) && y+1 < code.Size+quietZone; {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (l *login) seal(text string) (string, error) {
	sealed, err := l.ring.Seal(seal.PurposeSignIn, []byte(text))
	if err != nil {
		return "", fmt.Errorf("seal what was given: %w", err)
	}
	return sealed, nil
}

// ask reads one line.
func (l *login) ask(what string) (string, error) {
	fmt.Fprint(l.out, what+": ")
	line, err := l.in.ReadString('\n')
	if line = strings.TrimSpace(line); line == "" && err != nil {
		return "", fmt.Errorf("%s: nothing was given", strings.ToLower(what[:1])+what[1:])
	}
	return line, nil
}

// askSecret reads one line that a terminal does not show.
func (l *login) askSecret(what string) (string, error) {
	file, ok := l.cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return l.ask(what)
	}
	fmt.Fprint(l.out, what+": ")
	typed, err := term.ReadPassword(int(file.Fd()))
	fmt.Fprintln(l.out)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(typed), nil
}
