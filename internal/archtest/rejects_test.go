package archtest_test

import (
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// sound is a made-up house that keeps every rule, and comes close to breaking some.
var sound = map[string]string{
	"go.mod": "module example.org/fleet\n\ngo 1.26.0\n",
	"docs/architecture.md": `# Architecture

## The house

| directory | what it gives |
|---|---|
| ` + "`internal/fault`" + ` | classes |
| ` + "`internal/ingest`" + ` | envelopes |
| ` + "`internal/config`" + ` | settings |
| ` + "`internal/obs`" + ` | metrics |
| ` + "`internal/queue`" + ` | tasks |
| ` + "`internal/queue/queuetest`" + ` | a suite |
| ` + "`internal/normalise`" + ` | change sets |
| ` + "`internal/accept`" + ` | the sink |
| ` + "`internal/store`" + ` | the archive |
| ` + "`internal/source/webhook`" + ` | posts |
| ` + "`internal/source/polling`" + ` | polls |
| ` + "`internal/simulator`" + ` | a server |
| ` + "`internal/app/api`" + ` | wiring |
| ` + "`internal/app/up`" + ` | wiring |
| ` + "`cmd/api`" + ` | main |
| ` + "`cmd/tgfleet`" + ` | main |

## The path of one update

| ` + "`internal/nowhere`" + ` | this table is no map |
`,
	"internal/fault/fault.go":       source("fault", `import "errors"`, `var Err = errors.New("odd")`),
	"internal/fault/fault_test.go":  source("fault_test", `import _ "github.com/stretchr/testify/require"`),
	"internal/ingest/ingest.go":     source("ingest", `import _ "example.org/fleet/internal/fault"`),
	"internal/config/config.go":     source("config", `import "os"`, `var Lookup = os.LookupEnv`),
	"internal/obs/obs.go":           source("obs", `import _ "github.com/prometheus/client_golang/prometheus"`),
	"internal/queue/queue.go":       source("queue", `import _ "github.com/hibiken/asynq"`, `import _ "example.org/fleet/internal/obs"`),
	"internal/queue/queuetest/a.go": source("queuetest", `import _ "testing"`, `import _ "github.com/hibiken/asynq"`),
	"internal/normalise/n.go":       source("normalise", `import _ "example.org/fleet/internal/ingest"`),
	"internal/accept/accept.go":     source("accept", `import _ "example.org/fleet/internal/queue"`),
	"internal/accept/accept_test.go": source("accept_test", `import _ "example.org/fleet/internal/queue/queuetest"`,
		`import _ "github.com/redis/go-redis/v9"`, `import _ "example.org/fleet/internal/store"`),
	"internal/store/store.go":           source("store", `import _ "gorm.io/gorm"`, `import _ "database/sql"`),
	"internal/source/webhook/w.go":      source("webhook", `import _ "net/http"`),
	"internal/source/polling/p.go":      source("polling", `import clock "time"`, `var Pause = clock.Second`),
	"internal/simulator/s.go":           source("simulator", `import _ "example.org/fleet/internal/accept"`),
	"internal/app/api/api.go":           source("api", `import _ "example.org/fleet/internal/source/webhook"`),
	"internal/app/up/up.go":             source("up", `import _ "example.org/fleet/internal/simulator"`),
	"internal/app/up/up_test.go":        source("up", `import _ "example.org/fleet/internal/store"`),
	"internal/app/up/testdata/never.go": "this is no Go",
	"cmd/api/main.go": source("main", `import _ "example.org/fleet/internal/app/api"`,
		`import _ "example.org/fleet/internal/config"`),
	"cmd/tgfleet/main.go":   source("main", `import _ "example.org/fleet/internal/app/up"`, `import _ "github.com/spf13/cobra"`),
	"tools/go.mod":          "module example.org/fleet/tools\n",
	"tools/helpers/init.go": "package helpers\nfunc init() {}\n",
	".ci/util/init.go":      "package util\nfunc init() {}\n",
}

func source(name string, lines ...string) string {
	return "// Package " + name + " is made up.\npackage " + name + "\n" + strings.Join(lines, "\n") + "\n"
}

// brokenHouse is the sound house with one thing wrong.
type brokenHouse struct {
	// rule names the rule that must complain.
	rule string
	// file is written anew with text; an empty text takes it away.
	file, text string
	// says is what the rule says.
	says string
}

var brokenHouses = map[string]brokenHouse{
	"a package of no layer": {
		"packages have a layer", "internal/zoo/zoo.go", source("zoo"), "internal/zoo belongs to no layer",
	},
	"a package below a layer that has no room for it": {
		"packages have a layer", "internal/fault/deep/deep.go", source("deep"), "internal/fault/deep belongs to no layer",
	},
	"vocabulary knows mechanics": {
		"layers import downwards", "internal/ingest/i.go", source("ingest", `import _ "example.org/fleet/internal/config"`),
		"internal/ingest (vocabulary) may not import internal/config",
	},
	"mechanics know the application": {
		"layers import downwards", "internal/queue/q.go", source("queue", `import _ "example.org/fleet/internal/accept"`),
		"internal/queue (mechanics) may not import internal/accept",
	},
	"rules know mechanics": {
		"layers import downwards", "internal/normalise/m.go", source("normalise", `import _ "example.org/fleet/internal/obs"`),
		"internal/normalise (rules) may not import internal/obs",
	},
	"the application knows an adapter": {
		"layers import downwards", "internal/accept/b.go", source("accept", `import _ "example.org/fleet/internal/store"`),
		"internal/accept (application) may not import internal/store",
	},
	"a test of an adapter knows the application": {
		"layers import downwards", "internal/store/b_test.go", source("store_test", `import _ "example.org/fleet/internal/accept"`),
		"internal/store (adapters) may not import internal/accept",
	},
	"an adapter knows the application": {
		"layers import downwards", "internal/store/b.go", source("store", `import _ "example.org/fleet/internal/accept"`),
		"internal/store (adapters) may not import internal/accept",
	},
	"an adapter knows the rules": {
		"layers import downwards", "internal/store/b.go", source("store", `import _ "example.org/fleet/internal/normalise"`),
		"internal/store (adapters) may not import internal/normalise",
	},
	"an adapter knows another": {
		"layers import downwards", "internal/store/b.go", source("store", `import _ "example.org/fleet/internal/source/webhook"`),
		"internal/store (adapters) may not import internal/source/webhook",
	},
	"a source knows another": {
		"layers import downwards", "internal/source/polling/q.go", source("polling", `import _ "example.org/fleet/internal/source/webhook"`),
		"internal/source/polling (adapters) may not import internal/source/webhook",
	},
	"a command does the wiring": {
		"layers import downwards", "cmd/tgfleet/wire.go", source("main", `import _ "example.org/fleet/internal/store"`),
		"cmd/tgfleet (commands) may not import internal/store",
	},
	"an import of what is not there": {
		"layers import downwards", "internal/accept/b.go", source("accept", `import _ "example.org/fleet/internal/gone"`),
		"internal/accept (application) may not import internal/gone",
	},
	"vocabulary with a library": {
		"vocabulary is bare", "internal/ingest/i.go", source("ingest", `import _ "golang.org/x/sync/errgroup"`),
		"internal/ingest/i.go: imports golang.org/x/sync/errgroup",
	},
	"rules that read files": {
		"pure layers do no input or output", "internal/normalise/m.go", source("normalise", `import _ "os"`),
		"internal/normalise/m.go: imports os",
	},
	"asynq outside the queue": {
		"libraries have owners", "internal/accept/b.go", source("accept", `import _ "github.com/hibiken/asynq"`),
		"github.com/hibiken/asynq belongs to internal/queue/...",
	},
	"gorm outside the store": {
		"libraries have owners", "internal/source/polling/q.go", source("polling", `import _ "gorm.io/gorm/clause"`),
		"gorm.io/gorm/clause belongs to internal/store/...",
	},
	"SQL outside the store": {
		"libraries have owners", "internal/accept/b.go", source("accept", `import _ "database/sql"`),
		"database/sql belongs to internal/store/...",
	},
	"metrics in the vocabulary of rules": {
		"libraries have owners", "internal/normalise/m.go", source("normalise", `import _ "github.com/prometheus/client_golang/prometheus"`),
		"internal/normalise/m.go: github.com/prometheus/client_golang/prometheus belongs to",
	},
	"a part of a library that nobody may use": {
		"libraries have owners", "internal/obs/p.go",
		source("obs", `import _ "github.com/prometheus/client_golang/prometheus/promauto"`), "promauto belongs to tests only",
	},
	"a library that nobody chose": {
		"libraries have owners", "internal/store/b.go", source("store", `import _ "example.com/leftpad"`), "example.com/leftpad has no owner",
	},
	"test code in production": {
		"libraries have owners", "internal/accept/b.go", source("accept", `import _ "testing"`), "testing belongs to tests only",
	},
	"production leans on the workshop": {
		"the workshop serves tests", "internal/accept/b.go", source("accept", `import _ "example.org/fleet/internal/queue/queuetest"`),
		"internal/accept/b.go: internal/queue/queuetest is for tests",
	},
	"the api links a poller over two corners": {
		"commands stay light", "internal/app/api/b.go", source("api", `import _ "example.org/fleet/internal/source/polling"`),
		"cmd/api: links internal/source/polling",
	},
	"a test that sleeps": {
		"reserved names", "internal/fault/b_test.go", source("fault_test", `import z "time"`, `func f() { z.Sleep(1) }`),
		"internal/fault/b_test.go:4: time.Sleep: select on a timer and ctx",
	},
	"the environment read in a corner": {
		"reserved names", "internal/accept/b.go", source("accept", `import "os"`, `var home = os.Getenv("HOME")`),
		"os.Getenv: take the value from config",
	},
	"an init": {
		"no init", "internal/accept/b_test.go", source("accept", "func init() {}"), "internal/accept/b_test.go:3: init",
	},
	"a drawer": {
		"packages are named for what they give", "internal/queue/queue.go", source("util"), `"util" says nothing`,
	},
	"a package without a word about it": {
		"packages say what they are", "internal/accept/accept.go", "package accept\n", "internal/accept has no package comment",
	},
	"a file of two stories": {
		"files tell one story", "internal/accept/b.go", source("accept") + strings.Repeat("\n", maxLines), "internal/accept/b.go: 603 lines",
	},
	"a package that the map does not name": {
		"the map is true", "internal/source/mtproto/m.go", source("mtproto"),
		"internal/source/mtproto is missing in docs/architecture.md",
	},
	"a map of what was": {
		"the map is true", mapFile, sound[mapFile] + "## The house\n\n| `internal/gone` | nothing |\n",
		`docs/architecture.md: section "## The house" names internal/gone, which is not there`,
	},
}

func houseOf(t *testing.T, files map[string]string) *house {
	t.Helper()
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	h, err := readHouse(tree)
	require.NoError(t, err)
	return h
}

func TestASoundHouseBreaksNoRule(t *testing.T) {
	t.Parallel()
	h := houseOf(t, sound)
	require.Len(t, h.packages, 16, "all packages are read, and no other module, testdata or hidden directory")
	for _, r := range rules {
		require.Empty(t, r.check(h), r.name)
	}
}

func TestEveryRuleRejects(t *testing.T) {
	t.Parallel()
	rejects := map[string]bool{}
	for name, b := range brokenHouses {
		rejects[b.rule] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := maps.Clone(sound)
			files[b.file] = b.text
			h := houseOf(t, files)
			for _, r := range rules {
				said := strings.Join(r.check(h), "\n")
				if r.name == b.rule {
					require.Contains(t, said, b.says)
				}
			}
		})
	}
	for _, r := range rules {
		require.True(t, rejects[r.name], "nothing shows that %q rejects anything", r.name)
	}
}

func TestHeavyThingsAreFoundBehindOtherModules(t *testing.T) {
	t.Parallel()
	h := houseOf(t, sound)
	require.Equal(t,
		[]string{"cmd/api: links github.com/gotd/td/tg", "cmd/api: links internal/normalise/botapi"},
		h.tooHeavy("cmd/api", []string{
			"net/http", "github.com/gotd/td/tg", "example.org/fleet/internal/normalise", "example.org/fleet/internal/normalise/botapi",
		}))
}

func TestAHouseWithoutAMapIsNotRead(t *testing.T) {
	t.Parallel()
	_, err := readHouse(fstest.MapFS{"go.mod": {Data: []byte("module m\n")}})
	require.ErrorIs(t, err, fs.ErrNotExist)
}
