package operator

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/seal"
)

func keysCommand(env Env) *cobra.Command {
	return group("keys", "Make and change the keys that secrets are sealed with", keysGenerate(), keysRotate(env))
}

func keysGenerate() *cobra.Command {
	var id string
	cmd := addJSON(&cobra.Command{
		Use:   "generate",
		Short: "Make a key for SECRET_KEYS",
		Long: `Makes a new key and prints it; nothing is stored. Put it into SECRET_KEYS of the workers, the listeners and this tool: the first key
there seals, and all of them open what they sealed. Where there are keys already, put it behind them first, and before them once every process
knows it; "tgfleet keys rotate" then seals again what is stored.`,
		Example: `  tgfleet keys generate
  export SECRET_KEYS=$(tgfleet keys generate)`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().StringVar(&id, "id", seal.NewID(time.Now()), "the key's name, shown beside what it seals")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		key, err := seal.Generate(id)
		if err != nil {
			return err
		}
		asJSON, err := cmd.Flags().GetBool("json")
		if err != nil {
			return err
		}
		private := key.Private().Reveal()
		return show(cmd, asJSON, map[string]string{"id": id, "private": private, "public": key.Public()},
			func(w io.Writer) { row(w, private) })
	}
	return cmd
}
