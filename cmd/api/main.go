// Command api receives Telegram's webhooks and puts every update, raw, into the queue. Its settings come from the environment;
// --help lists them.
package main

import (
	"github.com/tgfleet/tgfleet/internal/app/api"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
)

func main() {
	process.Main(process.Command[config.API]{
		Name: config.ForAPI, Does: "receives Telegram's webhooks and puts every update, raw, into the queue",
		Load: config.LoadAPI,
		Log:  func(cfg config.API) config.Log { return cfg.Log },
		Run:  api.Run,
	})
}
