package operator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/store"
)

func connectorCommand(env Env) *cobra.Command {
	return group("connector", "Add, sign in, list and remove the accounts that the fleet listens to over MTProto",
		connectorAdd(env), connectorLogin(env), connectorList(env), connectorEnable(env), connectorDisable(env), connectorRemove(env))
}

// connectorLine is one connector as the commands print it.
type connectorLine struct {
	ID           string     `json:"id"`
	Label        string     `json:"label"`
	Kind         string     `json:"kind"`
	Status       string     `json:"status"`
	AccountID    int64      `json:"account_id,omitempty"`
	Username     string     `json:"username,omitempty"`
	LastError    string     `json:"last_error,omitempty"`
	LastUpdateAt *time.Time `json:"last_update_at,omitempty"`
	Device       string     `json:"device"`
	CreatedAt    time.Time  `json:"created_at"`
}

func connectorLineOf(c *account.Connector) connectorLine {
	line := connectorLine{
		ID: c.ID, Label: c.Label, Kind: string(c.Kind), Status: string(c.Status), AccountID: c.AccountID, Username: c.Username,
		LastError: c.LastError, Device: c.Device.Model, CreatedAt: c.CreatedAt,
	}
	if !c.LastUpdateAt.IsZero() {
		line.LastUpdateAt = &c.LastUpdateAt
	}
	return line
}

// Telegram shows these in an account's list of sessions.
const (
	deviceModel      = "tgfleet"
	deviceSystem     = "Linux"
	deviceAppVersion = "1"
)

func connectorAdd(env Env) *cobra.Command {
	var flags struct {
		label string
		bot   bool
		model string
	}
	cmd := addJSON(&cobra.Command{
		Use:   "add --label LABEL",
		Short: "Make an account known to the fleet",
		Long: `Makes room for an account that the fleet is to listen to. Nobody is signed in yet: run "tgfleet connector login LABEL" next, while a
listener runs.` + settings(),
		Example: `  tgfleet connector add --label harbour-desk
  tgfleet connector add --label news-bot --bot --json`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().StringVar(&flags.label, "label", "", "what you call it")
	cmd.Flags().BoolVar(&flags.bot, "bot", false, "it is a bot, which signs in with its token")
	cmd.Flags().StringVar(&flags.model, "device", deviceModel, "the device that Telegram shows in the account's list of sessions")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		label := strings.TrimSpace(flags.label)
		if label == "" {
			return errors.New("--label is missing: give the account a name of your own, for example --label harbour-desk")
		}
		c := account.Connector{
			ID: strings.ToLower(rand.Text()[:12]), Label: label, Kind: account.UserAccount, Status: account.New,
			Device: account.Device{Model: flags.model, SystemVersion: deviceSystem, AppVersion: deviceAppVersion},
		}
		if flags.bot {
			c.Kind = account.BotAccount
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			if err := s.db.Connectors().Create(ctx, c); err != nil {
				return err
			}
			return s.print(map[string]string{"id": c.ID, "label": c.Label}, func(w io.Writer) {
				row(w, "Added", c.Label, c.ID)
				row(w, "Sign in:", "tgfleet connector login "+c.Label)
			})
		})
	}
	return cmd
}

func connectorList(env Env) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use:     "list",
		Short:   "List the accounts and how they are",
		Long:    "Lists the accounts: whether they are connected, when an update last came, and what is wrong." + settings(),
		Example: "  tgfleet connector list\n  tgfleet connector list --json | jq -r '.[] | select(.status != \"connected\") | .label'",
		Args:    cobra.NoArgs,
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			connectors, err := s.db.Connectors().List(ctx)
			if err != nil {
				return err
			}
			lines := make([]connectorLine, len(connectors))
			for i := range connectors {
				lines[i] = connectorLineOf(&connectors[i])
			}
			return s.print(lines, func(w io.Writer) { printConnectors(w, lines) })
		})
	}
	return cmd
}

func printConnectors(w io.Writer, lines []connectorLine) {
	if len(lines) == 0 {
		row(w, "No accounts yet: tgfleet connector add --label LABEL")
		return
	}
	row(w, "LABEL", "ID", "KIND", "STATUS", "ACCOUNT", "USERNAME", "LAST UPDATE", "WRONG")
	for i := range lines {
		l := &lines[i]
		last := "never"
		if l.LastUpdateAt != nil {
			last = l.LastUpdateAt.Format(time.DateTime)
		}
		id := ""
		if l.AccountID != 0 {
			id = strconv.FormatInt(l.AccountID, 10)
		}
		row(w, l.Label, l.ID, l.Kind, l.Status, id, l.Username, last, l.LastError)
	}
}

func connectorEnable(env Env) *cobra.Command {
	return connectorChange(env, "enable", "Listen to an account again that was disabled or quarantined",
		`Has a listener connect the account again, with the session that it has. An account without a session, or whose session Telegram has ended,
has to sign in instead.`,
		func(ctx context.Context, c *store.Connectors, id string) error { return c.Enable(ctx, id) })
}

func connectorDisable(env Env) *cobra.Command {
	return connectorChange(env, "disable", "Leave an account alone until it is enabled",
		`Has the listener that holds the account give it back within seconds, and nobody take it, until "tgfleet connector enable". Telegram keeps
its updates meanwhile, as long as it keeps any.`,
		func(ctx context.Context, c *store.Connectors, id string) error { return c.Disable(ctx, id) })
}

func connectorRemove(env Env) *cobra.Command {
	return connectorChange(env, "remove", "Forget an account; what it received stays",
		`Forgets the account with its sessions and how far its updates were taken. Telegram still lists the session: end it there, in any client,
under Settings, Devices.`,
		func(ctx context.Context, c *store.Connectors, id string) error { return c.Remove(ctx, id) })
}

// connectorChange is a command that does one thing to one connector, and prints what was done.
func connectorChange(
	env Env, verb, short, long string, change func(ctx context.Context, c *store.Connectors, id string) error,
) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use: verb + " CONNECTOR", Short: short, Long: long + " CONNECTOR is its label or its id." + settings(),
		Example: "  tgfleet connector " + verb + " harbour-desk",
		Args:    cobra.ExactArgs(1),
	})
	done := strings.TrimSuffix(verb, "e") + "ed"
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withConnector(env, cmd, args[0], func(ctx context.Context, s *session, c *account.Connector) error {
			if err := change(ctx, s.db.Connectors(), c.ID); err != nil {
				return err
			}
			return s.print(map[string]string{done: c.ID}, func(w io.Writer) { row(w, c.Label, "is "+done) })
		})
	}
	return cmd
}

// withConnector runs do with the connector that ref names, by its label or its id.
func withConnector(
	env Env, cmd *cobra.Command, ref string, do func(ctx context.Context, s *session, c *account.Connector) error, needs ...string,
) error {
	return withDatabase(env, cmd, needs, func(ctx context.Context, s *session) error {
		c, err := s.db.Connectors().Find(ctx, ref)
		if fault.ClassOf(err) == fault.NotFound {
			return fmt.Errorf("%w; `tgfleet connector list` shows those that there are", err)
		}
		if err != nil {
			return err
		}
		return do(ctx, s, &c)
	})
}
