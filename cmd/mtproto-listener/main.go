// Command mtproto-listener holds the MTProto sessions of accounts and puts their updates into the queue; any number of them may run. Its
// settings come from the environment; --help lists them.
package main

import (
	"github.com/tgfleet/tgfleet/internal/app/listener"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
)

func main() {
	process.Main(process.Command[config.Listener]{
		Name: config.ForListener, Does: "holds the MTProto sessions of accounts and puts their updates into the queue",
		Load: config.LoadListener,
		Log:  func(cfg config.Listener) config.Log { return cfg.Log },
		Run:  listener.Run,
	})
}
