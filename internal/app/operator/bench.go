package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/bench"
)

// benchDataCentre is the command that is a data centre for a bench, as a process of its own.
const benchDataCentre = "data-centre"

func benchCommand() *cobra.Command {
	return group("bench", "Measure the fleet's weight and speed on this machine", benchListener(), benchServer())
}

func benchListener() *cobra.Command {
	b := bench.Listener{}
	cmd := addJSON(&cobra.Command{
		Use:   "listener",
		Short: "Measure what accounts, channels and their updates cost a listener",
		Long: `Starts a data centre in a process of its own, and a listener with a database of its own in this one, and measures: the memory of an
account that nothing happens to, the memory of a channel that is followed, how many pushes a second one core brings into a sink, and the
memory while the sink takes nothing, with what comes through afterwards. A speed stands beside a limit that was measured in the same run.

It touches no fleet and needs no settings. All of it takes some minutes; it ends with an error when a target is missed.`,
		Example: `  tgfleet bench listener
  tgfleet bench listener --only speed --updates 500000 --profiles .
  tgfleet bench listener --only outage --outage 10s --json`,
		Args: cobra.NoArgs,
	})
	flags := cmd.Flags()
	flags.StringSliceVar(&b.Only, "only", bench.Measurements, "which measurements to make")
	flags.IntVar(&b.Accounts, "accounts", 200, "how many accounts are idle together")
	flags.IntVar(&b.Channels, "channels", 1000, "how many channels an account follows")
	flags.IntVar(&b.Updates, "updates", 200_000, "how many messages are pushed")
	flags.DurationVar(&b.Outage.Lasts, "outage", time.Minute, "how long the sink takes nothing")
	flags.Float64Var(&b.Outage.Rate, "rate", 1000, "messages a second while the sink takes nothing")
	flags.StringVar(&b.Profiles, "profiles", "", "folder for profiles of the processor and of memory")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if min(b.Accounts, b.Channels, b.Updates) < 1 || b.Outage.Lasts <= 0 || b.Outage.Rate <= 0 {
			return errors.New("--accounts, --channels, --updates, --outage and --rate: want more than 0")
		}
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		b.DataCentre = func(ctx context.Context) *exec.Cmd {
			return exec.CommandContext(ctx, program, "bench", benchDataCentre)
		}
		b.Say = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), what) }
		figures, err := b.Run(cmd.Context())
		if err != nil {
			return err
		}
		asJSON, _ := cmd.Flags().GetBool("json")
		if err := show(cmd, asJSON, figures, func(w io.Writer) { printFigures(w, figures) }); err != nil {
			return err
		}
		return missed(figures)
	}
	return cmd
}

func benchServer() *cobra.Command {
	return &cobra.Command{
		Use:    benchDataCentre,
		Short:  "Be the data centre of a bench",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.ServeDataCentre(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func printFigures(w io.Writer, figures []bench.Figure) {
	row(w, "MEASUREMENT", "FIGURE", "VALUE", "OF LIMIT", "TARGET", "")
	for _, f := range figures {
		target, met, share := "", "", ""
		if f.IsTarget() {
			target = "at least "
			if f.AtMost {
				target = "at most "
			}
			target += amount(f.Target, f.Unit)
			met = "missed"
			if f.Met() {
				met = "met"
			}
		}
		if f.OfLimit > 0 {
			share = fmt.Sprintf("%.2f", f.OfLimit)
		}
		row(w, f.Measurement, f.Name, amount(f.Value, f.Unit), share, target, met)
	}
}

// amount writes a figure for people.
func amount(v float64, unit string) string {
	switch unit {
	case "B":
		return fmt.Sprintf("%.1f KiB", v/1024)
	case "s":
		return fmt.Sprintf("%.1f s", v)
	case "mean":
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.0f%s", v, unit)
	}
}

// missed names the figures that miss their targets.
func missed(figures []bench.Figure) error {
	var names []string
	for _, f := range figures {
		if f.IsTarget() && !f.Met() {
			names = append(names, f.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("missed: %s", strings.Join(names, ", "))
}
