// Command skewedapi is the api on a machine whose clock is wrong: what it receives, it receives CLOCK_SKEW (a Go duration) later or,
// below zero, earlier than it does. It is for tests of the whole fleet.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/tgfleet/tgfleet/internal/app/api"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
)

func main() {
	process.Main(process.Command[config.API]{
		Name: config.ForAPI, Does: "is the api with a clock that is wrong",
		Load: config.LoadAPI,
		Log:  func(cfg config.API) config.Log { return cfg.Log },
		Run:  runSkewed,
	})
}

func runSkewed(ctx context.Context, cfg config.API, log *slog.Logger) error {
	skew, err := time.ParseDuration(os.Getenv("CLOCK_SKEW"))
	if err != nil {
		return fmt.Errorf("CLOCK_SKEW: %w", err)
	}
	return api.RunAt(ctx, cfg, func() time.Time { return time.Now().Add(skew) }, log)
}
