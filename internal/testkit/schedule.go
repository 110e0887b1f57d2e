package testkit

import (
	"math"
	"math/rand/v2"
	"time"
)

// Kind is what goes wrong, in words.
type Kind string

// Fault is one thing that goes wrong.
type Fault struct {
	// Number counts from 1.
	Number int
	Kind   Kind
	// Target picks among several processes of the same kind; whoever brings the fault about divides by their number.
	Target int
	// Lasts is for how long.
	Lasts time.Duration
}

const (
	shortest = 300 * time.Millisecond
	longest  = 4 * time.Second
)

// Schedule returns n faults of kinds, one after another. It is a pure function: the same seed gives the same faults. Every kind comes
// once before any comes again, and short faults are as likely as long ones.
func Schedule(seed uint64, n int, kinds []Kind) []Fault {
	random := rand.New(rand.NewPCG(seed, uint64(len(kinds))))
	faults := make([]Fault, 0, n)
	for len(faults) < n {
		for _, i := range random.Perm(len(kinds)) {
			lasts := float64(shortest) * math.Pow(float64(longest)/float64(shortest), random.Float64())
			faults = append(faults, Fault{
				Number: len(faults) + 1, Kind: kinds[i], Target: random.IntN(1 << 16), Lasts: time.Duration(lasts).Round(time.Millisecond),
			})
		}
	}
	return faults[:n]
}
