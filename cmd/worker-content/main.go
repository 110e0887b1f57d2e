// Command worker-content turns queued updates into rows of the archive; any number of them may run. Its settings come from the
// environment; --help lists them.
package main

import (
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/app/worker"
	"github.com/tgfleet/tgfleet/internal/config"
)

func main() {
	process.Main(process.Command[config.Worker]{
		Name: config.ForWorker, Does: "turns queued updates into rows of the archive",
		Load: config.LoadWorker,
		Log:  func(cfg config.Worker) config.Log { return cfg.Log },
		Run:  worker.Run,
	})
}
