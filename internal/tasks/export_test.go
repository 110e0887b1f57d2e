package tasks

import "github.com/tgfleet/tgfleet/internal/accept/batch"

// OpenWith makes s open its batches with open. It is called before anything is settled.
func (s *Settler) OpenWith(open func(payload []byte) (batch.Batch, error)) { s.open = open }
