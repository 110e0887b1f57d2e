package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
)

var (
	programs builder
	postgres localtest.Postgres
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite{postgres.Around(m)}) }

// suite runs the tests and removes what was built for them.
type suite struct{ tests localtest.Tests }

func (s suite) Run() int {
	code := s.tests.Run()
	if err := os.RemoveAll(programs.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// buildWithin allows for a machine that compiles everything for the first time, and does other things as well.
const buildWithin = 15 * time.Minute

// builder builds our commands, once for all tests of the binary.
type builder struct {
	once sync.Once
	dir  string // written within once
	err  error  // written within once
}

// path returns the path of one of our commands, built from the source that is there now.
func (b *builder) path(t testing.TB, program string) string {
	t.Helper()
	b.once.Do(b.build)
	require.NoError(t, b.err)
	return filepath.Join(b.dir, program)
}

func (b *builder) build() {
	if b.dir, b.err = os.MkdirTemp("", "tgfleet-e2e-"); b.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", b.dir+string(filepath.Separator),
		"./cmd/...", "./internal/testkit/skewedapi")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("go build: %w\n%s", err, output)
	}
}
