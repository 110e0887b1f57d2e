package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// DeadLetters are the updates that could not be applied. Archive.Apply writes them; here they are read, sent back into the line,
// or dropped, and every such move is recorded in its own transaction. Any number of goroutines and processes may use it.
type DeadLetters struct {
	db *DB
	by Mover
}

// DeadLetters returns the repository of the updates that could not be applied.
func (db *DB) DeadLetters() *DeadLetters { return &DeadLetters{db: db} }

// DeadLetter is a dead letter and its number, which grows with every letter and is never given twice.
type DeadLetter struct {
	ID int64
	ingest.DeadLetter
}

// DeadLetterFilter says which dead letters are meant: those that meet all its fields. A zero field asks for nothing, so that the
// zero filter means every letter.
type DeadLetterFilter struct {
	// IDs means these letters; nil means any, while empty means none.
	IDs    []int64
	Class  string
	Source ingest.Source
	// NormaliserVersion means letters of this version, 0 included; nil means any.
	NormaliserVersion *uint16
}

// DeadLetterGroup sums up the letters that one version of the normaliser gave up on for one cause.
type DeadLetterGroup struct {
	Class             string
	NormaliserVersion uint16
	Letters           int
	// Oldest and Newest are the first and the last time of death.
	Oldest, Newest time.Time
	// Example is the error of the latest letter.
	Example string
}

// List returns up to limit letters that filter means, the latest first. It leaves out the bytes (Raw and Request), which can be
// many; Get has them.
func (d *DeadLetters) List(ctx context.Context, filter DeadLetterFilter, limit int) ([]DeadLetter, error) {
	var rows []deadLetterRow
	err := filter.of(d.db.read(ctx)).Select(deadLetterNames).Order("id DESC").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", classify(err))
	}
	letters := make([]DeadLetter, len(rows))
	for i := range rows {
		if letters[i], err = rows[i].letter(); err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
	}
	return letters, nil
}

// IDs returns the numbers of all letters that filter means, in ascending order. When filter names letters that are not there, or that
// do not meet the rest of it, the error is fault.NotFound and says which.
func (d *DeadLetters) IDs(ctx context.Context, filter DeadLetterFilter) ([]int64, error) {
	var ids []int64
	err := filter.of(d.db.read(ctx).Table(deadLetterRow{}.TableName())).Order("id").Pluck("id", &ids).Error
	if err != nil {
		return nil, fmt.Errorf("find dead letters: %w", classify(err))
	}
	if err := filter.missing(ids); err != nil {
		return nil, fmt.Errorf("find dead letters: %w", err)
	}
	return ids, nil
}

// Summary returns the letters that filter means in groups, the largest first.
func (d *DeadLetters) Summary(ctx context.Context, filter DeadLetterFilter) ([]DeadLetterGroup, error) {
	var rows []struct {
		Class             string
		NormaliserVersion uint16
		Letters           int
		Oldest, Newest    instant
		Example           string
	}
	sums := filter.of(d.db.read(ctx).Table(deadLetterRow{}.TableName())).Group("class, normaliser_version").Select(
		"class, normaliser_version, count(*) AS letters, min(died_at) AS oldest, max(died_at) AS newest, max(id) AS latest")
	err := d.db.read(ctx).Raw(`SELECT sums.*, latest.error AS example FROM (?) AS sums
		JOIN dead_letters AS latest ON latest.id = sums.latest
		ORDER BY sums.letters DESC, sums.class, sums.normaliser_version`, sums).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("sum up dead letters: %w", classify(err))
	}
	groups := make([]DeadLetterGroup, len(rows))
	for i, row := range rows {
		groups[i] = DeadLetterGroup{
			Class: row.Class, NormaliserVersion: row.NormaliserVersion, Letters: row.Letters,
			Oldest: row.Oldest.Time, Newest: row.Newest.Time, Example: row.Example,
		}
	}
	return groups, nil
}

// Open returns how many letters there are of each class that has any.
func (d *DeadLetters) Open(ctx context.Context) (map[string]int, error) {
	var rows []struct {
		Class   string
		Letters int
	}
	err := d.db.read(ctx).Table(deadLetterRow{}.TableName()).Select("class, count(*) AS letters").Group("class").Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", classify(err))
	}
	open := make(map[string]int, len(rows))
	for _, row := range rows {
		open[row.Class] = row.Letters
	}
	return open, nil
}

// Get returns the letter of that number with its exact bytes, or a fault.NotFound error.
func (d *DeadLetters) Get(ctx context.Context, id int64) (DeadLetter, error) {
	var row deadLetterRow
	err := d.db.read(ctx).Select(deadLetterColumns).Where("id = ?", id).Take(&row).Error
	if err != nil {
		return DeadLetter{}, fmt.Errorf("get dead letter %d: %w", id, classify(err))
	}
	return row.letter()
}

func (f *DeadLetterFilter) of(tx *gorm.DB) *gorm.DB {
	if f.IDs != nil {
		tx = tx.Where("id IN ?", f.IDs)
	}
	if f.Class != "" {
		tx = tx.Where("class = ?", f.Class)
	}
	if f.Source != (ingest.Source{}) {
		tx = tx.Where("source = ?", f.Source.String())
	}
	if f.NormaliserVersion != nil {
		tx = tx.Where("normaliser_version = ?", *f.NormaliserVersion)
	}
	return tx
}

// missingNamed bounds how many letters an error names.
const missingNamed = 10

// missing returns nil when found, in ascending order, has every letter that f names.
func (f *DeadLetterFilter) missing(found []int64) error {
	var names []string
	absent := 0
	for _, id := range f.IDs {
		if _, there := slices.BinarySearch(found, id); there {
			continue
		}
		if absent++; absent <= missingNamed {
			names = append(names, strconv.FormatInt(id, 10))
		}
	}
	if absent == 0 {
		return nil
	}
	list := strings.Join(names, ", ")
	if absent > missingNamed {
		list += fmt.Sprintf(" and %d more", absent-missingNamed)
	}
	return fault.As(fault.NotFound, fmt.Errorf("there is no letter %s", list))
}

// deadLetterNames is the columns of dead_letters without the bytes; deadLetterColumns is all that is read.
var (
	deadLetterNames = []string{
		"id", "source", "update_id", "class", "error", "normaliser_version", "received_at", "died_at", "origin", "format", "layer",
	}
	deadLetterColumns = append(slices.Clip(deadLetterNames), "request", "payload")
)

// deadLetterRow is a row of dead_letters.
type deadLetterRow struct {
	ID                int64
	Source            string
	UpdateID          int64
	Class             string
	Error             string
	NormaliserVersion uint16
	ReceivedAt        instant
	DiedAt            instant
	Origin            ingest.Origin
	Format            ingest.Format
	Layer             uint32
	Request           []byte
	Payload           []byte
}

// TableName is for GORM.
func (deadLetterRow) TableName() string { return "dead_letters" }

func (r *deadLetterRow) letter() (DeadLetter, error) {
	source, err := ingest.ParseSource(r.Source)
	if err != nil {
		return DeadLetter{}, fault.As(fault.Permanent, fmt.Errorf("dead letter %d: %w", r.ID, err))
	}
	return DeadLetter{ID: r.ID, DeadLetter: ingest.DeadLetter{
		Envelope: ingest.Envelope{
			Source: source, ReceivedAt: r.ReceivedAt.Time, Origin: r.Origin, Format: r.Format, Layer: r.Layer,
			Request: r.Request, Raw: r.Payload,
		},
		UpdateID: r.UpdateID, Class: r.Class, Error: r.Error, NormaliserVersion: r.NormaliserVersion, DiedAt: r.DiedAt.Time,
	}}, nil
}
