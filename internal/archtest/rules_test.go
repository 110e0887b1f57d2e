package archtest_test

// The tables. A pattern is a directory below the module's root; with /... at its end also everything below it, and with /*
// at its end each directory straight below it is a unit of its own, with everything below that.

// layer is one floor of the house.
type layer struct {
	name     string
	packages []string
	// imports names the layers that production code here may import; "own" stands for the unit itself: the part of the tree
	// that one pattern names.
	imports []string
	// also lists packages of other layers that may be imported all the same.
	also []string
	// bare layers use the standard library only.
	bare bool
	// pure layers do no input or output.
	pure bool
	// anyTests says that the tests here bring several layers together, and may import all of them.
	anyTests bool
}

// layers is the house from the ground up. A package that no pattern names is refused: give it a floor.
var layers = []layer{
	{
		name: "vocabulary",
		packages: []string{
			"internal/fault", "internal/ingest", "internal/content", "internal/event", "internal/account",
		},
		imports: []string{"vocabulary"},
		bare:    true,
		pure:    true,
	},
	{
		name: "mechanics",
		packages: []string{
			"internal/config", "internal/obs", "internal/lifecycle", "internal/seal", "internal/lease", "internal/queue/...",
			"internal/groupcommit", "internal/pause", "internal/handover",
		},
		imports: []string{"vocabulary", "mechanics"},
	},
	{
		name:     "rules",
		packages: []string{"internal/normalise/...", "internal/coverage"},
		imports:  []string{"vocabulary", "rules"},
		pure:     true,
	},
	{
		name:     "application",
		packages: []string{"internal/accept/...", "internal/tasks"},
		imports:  []string{"vocabulary", "mechanics", "rules", "application"},
		// What the application promises is tested with the adapters that it is used with.
		anyTests: true,
	},
	{
		name:     "adapters",
		packages: []string{"internal/source/*", "internal/store/...", "internal/telegram"},
		imports:  []string{"vocabulary", "mechanics", "own"},
	},
	{
		name:     "composition",
		packages: []string{"internal/app/*"},
		imports:  []string{"vocabulary", "mechanics", "rules", "application", "adapters", "composition"},
		anyTests: true,
	},
	{
		name:     "commands",
		packages: []string{"cmd/*"},
		imports:  []string{"composition"},
		also:     []string{"internal/config", "internal/obs"},
		anyTests: true,
	},
	{
		// The workshop serves the tests; nothing restrains what it imports. workshopImporters says who may import it.
		name: workshop,
		packages: []string{
			"internal/archtest", "internal/e2e", "internal/testkit/...", "internal/localservers/...", "internal/simulator/...",
			"internal/queue/queuetest", "internal/source/sourcetest", "internal/store/storetest", "internal/e2e", "internal/bench",
		},
		anyTests: true,
	},
}

const workshop = "workshop"

// workshopImporters lists the production code that may import a part of the workshop; tests and the workshop itself may always.
var workshopImporters = map[string][]string{
	"internal/simulator/...": {"internal/app/up"},
	"internal/bench":         {"internal/app/operator"},
}

// library is a library, or a part of one, by its import path and everything below it.
type library struct {
	path   string
	owners []string
}

// libraries names who may import what in production code. The longest path that fits decides. A library from outside that is
// not listed here is refused; parts of the standard library are free unless they are listed. Tests and the workshop may
// import any of them.
var libraries = []library{
	{"github.com/hibiken/asynq", []string{"internal/queue/..."}},
	{"github.com/redis/go-redis/v9", []string{"internal/queue/..."}},
	{"github.com/alicebob/miniredis/v2", []string{"internal/queue/embedded"}},

	{"gorm.io", []string{"internal/store/..."}},
	{"github.com/glebarez", []string{"internal/store/..."}},
	{"modernc.org/sqlite", []string{"internal/store/..."}},
	{"github.com/jackc/pgx/v5", []string{"internal/store/..."}},
	{"github.com/pressly/goose/v3", []string{"internal/store/..."}},
	{"database/sql", []string{"internal/store/..."}},

	{"github.com/go-telegram/bot", []string{"internal/telegram"}},
	{"github.com/gotd", []string{"internal/source/mtproto/..."}},
	{"github.com/gotd/td/bin", []string{"internal/source/mtproto/...", "internal/normalise/mtproto/..."}},
	{"github.com/gotd/td/tg", []string{"internal/source/mtproto/...", "internal/normalise/mtproto/..."}},
	{"github.com/go-json-experiment/json", []string{"internal/normalise/botapi"}},

	{"crypto/hpke", []string{"internal/seal"}},
	{"github.com/klauspost/compress", []string{"internal/accept/batch"}},
	{"github.com/spf13/cobra", []string{"cmd/tgfleet", "internal/app/..."}},
	{"rsc.io/qr", []string{"internal/app/operator"}},
	{"golang.org/x/term", []string{"cmd/tgfleet", "internal/app/..."}},

	{"github.com/prometheus", []string{
		"internal/obs", "internal/lifecycle", "internal/queue/...", "internal/groupcommit", "internal/accept/...",
		"internal/tasks", "internal/source/...", "internal/store/...", "internal/telegram", "internal/app/...",
	}},
	{"github.com/prometheus/client_golang/prometheus/promauto", nobody},
	{"github.com/prometheus/client_golang/prometheus/testutil", nobody},
	{"golang.org/x/time/rate", []string{"internal/source/mtproto"}},
	{"golang.org/x/sync", []string{
		"internal/lifecycle", "internal/queue/...", "internal/accept/...", "internal/tasks", "internal/source/...",
		"internal/store/...", "internal/telegram", "internal/app/...",
	}},

	{"C", nobody},
	{"testing", nobody},
	{"github.com/stretchr/testify", nobody},
	{"go.uber.org/goleak", nobody},
	{"pgregory.net/rapid", nobody},
}

// nobody owns what production code never uses.
var nobody []string

// pureImports is what a pure layer may not import.
var pureImports = []string{"net", "net/http", "os", "os/exec", "database/sql", "syscall"}

// reservedName is an exported name of another package that only some may use.
type reservedName struct {
	path, name string
	owners     []string
	// testsToo says that the tests are bound as well.
	testsToo bool
	instead  string
}

// reservedNames lists what the compiler allows and the house does not.
var reservedNames = []reservedName{
	{"time", "Sleep", nobody, true, "select on a timer and ctx"},
	{"os", "Getenv", []string{"internal/config"}, false, "take the value from config"},
	{"os", "LookupEnv", []string{"internal/config", "internal/app/process", "cmd/..."}, false, "take the value from config"},
	{"os", "Environ", []string{"internal/config"}, false, "take the value from config"},
	{"os", "Exit", []string{"internal/app/process", "cmd/..."}, false, "return an error"},
	{"log", "Fatal", nobody, false, "return an error"},
	{"log", "Fatalf", nobody, false, "return an error"},
	{"net/http", "DefaultClient", nobody, false, "make a client with a timeout"},
	{"net/http", "DefaultServeMux", nobody, false, "make a mux"},
	{"github.com/prometheus/client_golang/prometheus", "DefaultRegisterer", nobody, false, "inject a Registerer"},
	{"github.com/prometheus/client_golang/prometheus", "MustRegister", nobody, false, "register with the injected Registerer"},
}

// lightness lists what a command's binary may not contain, however far away it is imported.
var lightness = map[string][]string{
	"cmd/api": {
		"github.com/gotd", "github.com/alicebob/miniredis/v2", "github.com/go-json-experiment/json",
		"internal/normalise/*", "internal/source/polling", "internal/source/mtproto",
		"internal/simulator/...", "internal/localservers/...", "internal/testkit/...",
	},
	"cmd/worker-content": {
		"github.com/alicebob/miniredis/v2", "internal/source/webhook",
		"internal/simulator/...", "internal/localservers/...", "internal/testkit/...",
	},
	"cmd/tgfleet": {"internal/localservers/...", "internal/testkit/..."},
}

// emptyNames are names for drawers: they say nothing of what a package gives.
var emptyNames = []string{
	"util", "utils", "common", "helper", "helpers", "model", "models", "base", "manager", "managers", "misc", "shared", "lib", "types",
}

// maxLines is where a file must have become two; past about 400 lines look for the second story.
const maxLines = 600

// The map that must name every package.
const (
	mapFile    = "docs/architecture.md"
	mapHeading = "## The house"
)
