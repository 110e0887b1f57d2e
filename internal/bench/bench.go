// Package bench measures what the fleet promises of its own weight and speed, on the machine that it is run on. A figure of a speed stands beside a
// limit that was measured in the same run: the machine makes both faster or slower, and what remains is how near the one is to the other.
//
// What speaks the other side's part, a data centre, runs in a process of its own, so that only our own memory and time are measured.
// The package measures; whether a figure is good enough for somebody is theirs to say.
package bench

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
)

// The measurements of a listener, by the names that they have in reports.
const (
	// Accounts is the memory of an account that nothing happens to.
	Accounts = "accounts"
	// Channels is the memory of a channel that is followed and in which nothing happens.
	Channels = "channels"
	// Speed is how many pushes a second one core brings into the sink.
	Speed = "speed"
	// Outage is the memory while the sink takes nothing, and what comes through afterwards.
	Outage = "outage"
)

// Measurements are all measurements of a listener, in the order in which they are made.
var Measurements = []string{Accounts, Channels, Speed, Outage}

// Listener says what to measure of a listener, and how much of it.
type Listener struct {
	// Only are the measurements to make.
	Only []string
	// Accounts, Channels and Updates are how many of each are measured together.
	Accounts, Channels, Updates int
	Outage                      OutagePlan
	// Profiles is a folder for profiles of the processor and of memory, one for each measurement; empty for none.
	Profiles string
	// DataCentre makes the command of a process that calls ServeDataCentre.
	DataCentre func(ctx context.Context) *exec.Cmd
	// Say is told what is being done.
	Say func(what string)
}

// Figure is one result.
type Figure struct {
	Measurement string  `json:"measurement"`
	Name        string  `json:"name"`
	Value       float64 `json:"value"`
	Unit        string  `json:"unit"`
	// Target is what the figure has to be at least, or with AtMost at most. A figure that only explains another has neither.
	Target float64 `json:"target,omitempty"`
	AtMost bool    `json:"at_most,omitempty"`
	// OfLimit is Value as a share of the limit that was measured in the same run; 0 for no speed.
	OfLimit float64 `json:"of_limit,omitempty"`
}

// IsTarget says whether the figure has a target at all.
func (f Figure) IsTarget() bool { return f.Target > 0 || f.AtMost }

// Met says whether the figure keeps its target.
func (f Figure) Met() bool {
	if f.AtMost {
		return f.Value <= f.Target
	}
	return f.Value >= f.Target
}

// The units of figures.
const (
	unitBytes   = "B"
	unitRate    = "/s"
	unitCount   = ""
	unitSeconds = "s"
	unitMean    = "mean"
)

// Run makes the measurements one after the other, each with a database, a data centre and a listener of its own.
func (b *Listener) Run(ctx context.Context) ([]Figure, error) {
	measure := map[string]func(context.Context) ([]Figure, error){
		Accounts: b.accounts, Channels: b.channels, Speed: b.speed, Outage: b.outage,
	}
	for _, name := range b.Only {
		if measure[name] == nil {
			return nil, fmt.Errorf("%q is no measurement: want some of %v", name, Measurements)
		}
	}
	var all []Figure
	for _, name := range Measurements {
		if !slices.Contains(b.Only, name) {
			continue
		}
		figures, err := measure[name](ctx)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", name, err)
		}
		for i := range figures {
			figures[i].Measurement = name
		}
		all = append(all, figures...)
	}
	return all, nil
}

// weight is the memory that is in use, in bytes, and how many goroutines there are.
type weight struct {
	heap, stacks, goroutines float64
}

func (w weight) total() float64 { return w.heap + w.stacks }

// weigh returns the weight of this process once nothing is left to collect.
func weigh() weight {
	// What the first collection only marks as dead the second one frees.
	runtime.GC() //nolint:revive // what is live is what is measured
	runtime.GC() //nolint:revive // as above
	return weighNow()
}

// weighNow returns the same with what is still to be collected.
func weighNow() weight {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return weight{heap: float64(m.HeapInuse), stacks: float64(m.StackInuse), goroutines: float64(runtime.NumGoroutine())}
}
