package archtest_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rule is one demand on the whole house. Its check returns a sentence for each place that breaks it.
type rule struct {
	name  string
	check func(h *house) []string
}

var rules = []rule{
	{"packages have a layer", packagesHaveALayer},
	{"layers import downwards", layersImportDownwards},
	{"vocabulary is bare", bareLayersUseTheStandardLibrary},
	{"pure layers do no input or output", pureLayersDoNoInputOrOutput},
	{"libraries have owners", librariesHaveOwners},
	{"the workshop serves tests", workshopServesTests},
	{"commands stay light", commandsStayLight},
	{"reserved names", reservedNamesAreLeftAlone},
	{"no init", noInit},
	{"packages are named for what they give", packagesAreNamed},
	{"packages say what they are", packagesAreDocumented},
	{"files tell one story", filesAreShort},
	{"the map is true", theMapIsTrue},
}

func TestTheHouseKeepsItsRules(t *testing.T) {
	t.Parallel()
	h, err := readHouse(os.DirFS(moduleRoot(t)))
	require.NoError(t, err)
	require.NotEmpty(t, h.packages)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			if broken := r.check(h); len(broken) > 0 {
				t.Errorf("%d broken:\n%s", len(broken), strings.Join(broken, "\n"))
			}
		})
	}
}

// What readHouse finds by following the house's own imports, the go command finds through other people's modules too.
func TestCommandsLinkNothingHeavyThroughOthers(t *testing.T) {
	t.Parallel()
	root := moduleRoot(t)
	h, err := readHouse(os.DirFS(root))
	require.NoError(t, err)
	for _, command := range slices.Sorted(maps.Keys(lightness)) {
		if h.find(command) == nil {
			continue
		}
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			list := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "./"+command)
			list.Dir = root
			linked, err := list.Output()
			require.NoError(t, err)
			require.Contains(t, string(linked), h.module+"/"+command)
			require.Empty(t, h.tooHeavy(command, strings.Fields(string(linked))))
		})
	}
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, dir, parent, "no go.mod above the working directory")
		dir = parent
	}
}
