package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// errProbed undoes the write of a Probe.
var errProbed = errors.New("probed")

// Probe tells whether Put would succeed now: it puts a batch of nothing, takes it back before anybody has seen it, and commits one
// small write. Its errors have the classes of Put's.
func (s *Spool) Probe(ctx context.Context) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		if _, err := s.db.insertSpooled(tx, ingest.Spooled{OldestAt: time.Now(), Payload: []byte{}}); err != nil {
			return err
		}
		return errProbed
	})
	if !errors.Is(err, errProbed) {
		return fmt.Errorf("probe spool: %w", err)
	}
	return s.db.Archive().Probe(ctx)
}
