package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
)

// ExplainMessages returns how the database would run each query of List, by its name.
func (db *DB) ExplainMessages(ctx context.Context) (plans map[string]string, err error) {
	dry := db.read(ctx).Session(&gorm.Session{DryRun: true})
	place := MessagePlace{At: time.Unix(1_790_000_000, 0), Key: content.MessageKey{Scope: 1, ChatID: 2, MessageID: 3}}
	plans = map[string]string{}
	for name, query := range map[string]*gorm.DB{
		"first page": messageQueries(dry, 2, "", MessagePlace{})[0],
		"next page":  messageQueries(dry, 2, "", place)[0],
		"stubs":      messageQueries(dry, 2, "", place)[1],
		"album":      messageQueries(dry, 2, "7", place)[0],
	} {
		found := query.Limit(20).Find(&[]keptMessage{})
		if plans[name], err = db.explain(ctx, found.Statement); err != nil {
			return nil, err
		}
	}
	return plans, nil
}
