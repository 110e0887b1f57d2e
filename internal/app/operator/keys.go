package operator

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/seal"
)

func keysCommand() *cobra.Command {
	return group("keys", "Make the keys that secrets are sealed with", keysGenerate())
}

func keysGenerate() *cobra.Command {
	var id string
	cmd := addJSON(&cobra.Command{
		Use:   "generate",
		Short: "Make a key for SECRET_KEYS",
		Long: `Makes a new key and prints it; nothing is stored. Put it first in SECRET_KEYS of the workers and of this tool, before the
keys that are there already: the first one seals, and all of them open what they sealed.`,
		Example: `  tgfleet keys generate
  export SECRET_KEYS=$(tgfleet keys generate)`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().StringVar(&id, "id", "k"+time.Now().UTC().Format("20060102"), "the key's name, shown beside what it seals")
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
