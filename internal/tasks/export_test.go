package tasks

import (
	"context"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
)

// OpenWith makes s open its batches with open. It is called before anything is settled.
func (s *Settler) OpenWith(open func(payload []byte) (batch.Batch, error)) { s.open = open }

// Turn does what h does every few minutes.
func (h *Housekeeping) Turn(ctx context.Context) { h.turn(ctx) }
