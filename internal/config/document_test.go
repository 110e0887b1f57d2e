package config

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const documentPath = "../../docs/configuration.md"

// document returns docs/configuration.md as the table of settings has it.
func document() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Every command is configured by environment variables. A variable that is set to the empty text counts as unset. A command that
finds mistakes reports all of them at once and starts nothing. "tgfleet" stands for the operator's commands other than
` + "`tgfleet up`" + `. This page is written by a test from the table in ` + "`internal/config`" + `; each command shows its own part
with ` + "`--help`" + `.

| Variable | api | worker-content | mtproto-listener | tgfleet | tgfleet up | What it is | What is right |
|---|---|---|---|---|---|---|---|
`)
	for _, s := range settings {
		cells := []string{"`" + s.name + "`"}
		for _, command := range []Command{ForAPI, ForWorker, ForListener, ForOperator, ForUp} {
			u, reads := s.readBy[command]
			switch {
			case !reads:
				cells = append(cells, "")
			case u.required:
				cells = append(cells, "required")
			case u.fallback == "":
				cells = append(cells, "optional")
			default:
				cells = append(cells, "`"+u.fallback+"`")
			}
		}
		want := s.want
		for command, more := range s.wantMore {
			want += more + " (" + string(command) + ")"
		}
		b.WriteString("| " + strings.Join(append(cells, s.about, want), " | ") + " |\n")
	}
	return b.String()
}

func TestDocumentEqualsTheTable(t *testing.T) {
	t.Parallel()
	if *update {
		require.NoError(t, os.WriteFile(documentPath, []byte(document()), 0o644))
	}
	written, err := os.ReadFile(documentPath)
	require.NoError(t, err)
	require.Equal(t, document(), string(written), "write it anew with: go test ./internal/config -update")
}

func TestUsageShowsWhatTheCommandReads(t *testing.T) {
	t.Parallel()
	for _, command := range []Command{ForAPI, ForWorker, ForListener, ForOperator, ForUp} {
		usage := Usage(command)
		for _, s := range settings {
			u, reads := s.readBy[command]
			require.Equal(t, reads, strings.Contains(usage, "\n"+s.name+" "), "%s in the usage of %s", s.name, command)
			if reads {
				require.Contains(t, usage, s.wantFor(command))
				require.Contains(t, usage, u.String())
			}
		}
	}
	require.Contains(t, Usage(ForUp), "`embedded`")
	require.NotContains(t, Usage(ForAPI), "`embedded`")
}

// Every default must itself be right, and what is required has none.
func TestDefaultsAreRight(t *testing.T) {
	t.Parallel()
	for _, s := range settings {
		for command, u := range s.readBy {
			require.False(t, u.required && u.fallback != "", s.name)
			if u.fallback != "" {
				require.NoError(t, s.take(&values{}, command, u.fallback), s.name)
			}
		}
	}
}
