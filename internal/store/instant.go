package store

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// instantLayout is how both databases are given times: UTC, microseconds, and of one length, so that SQLite, which compares the
// texts, orders them as times. The driver's own layout drops trailing zeros.
const instantLayout = "2006-01-02 15:04:05.000000+00:00"

// instant is a time in a row. The zero instant is NULL.
type instant struct{ time.Time }

// Value writes the instant as instantLayout says.
func (i instant) Value() (driver.Value, error) {
	if i.IsZero() {
		return nil, nil //nolint:nilnil // NULL is a value
	}
	return i.UTC().Format(instantLayout), nil
}

// Scan reads what either driver hands out: a time, or the text of an expression whose type SQLite does not know.
func (i *instant) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		i.Time = time.Time{}
	case time.Time:
		i.Time = v.UTC()
	case string:
		t, err := time.Parse(instantLayout, v)
		if err != nil {
			return fmt.Errorf("time in a row is not written as %s", instantLayout)
		}
		i.Time = t.UTC()
	default:
		return fmt.Errorf("time in a row has type %T", src)
	}
	return nil
}
