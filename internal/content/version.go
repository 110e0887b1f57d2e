package content

import (
	"encoding/binary"
	"time"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Version orders all snapshots of one thing, from every source, without a clock of ours and without regard to the order of
// arrival: of two versions the greater string is the newer snapshot, byte by byte, in Go and in both databases alike. The
// empty Version is older than every other: nothing is known yet.
//
// The bytes, most significant first: date (5), original or edit (1), transport (1), account (8), days of an undated
// snapshot in threes (2), sequence (8), hash of the raw bytes (8), normaliser (2). The normaliser comes last, so that a replay with
// a newer normaliser wins over its own old output and over nothing else.
type Version string

// Stamp is what a Version is made of.
type Stamp struct {
	// Date is when Telegram produced the snapshot: the edit's date or the event's.
	Date time.Time
	// Edit is true for a snapshot that can't be the first of its thing.
	Edit   bool
	Source ingest.Source
	// Undated is the time of receipt, for a snapshot that tells no date of its own (and for an edit without edit_date);
	// zero otherwise. After a week of silence Telegram draws the next update_id at random, so that ids alone
	// order nothing over more than a few days.
	Undated time.Time
	// Sequence is the update_id or the pts.
	Sequence int64
	// Hash is the hash of the raw bytes: the last word between two snapshots that differ in nothing else.
	Hash ingest.Hash
	// Normaliser is the version of the normaliser that read the snapshot.
	Normaliser uint16
}

const (
	// versionSizeBytes is the length of every Version but the empty one.
	versionSizeBytes = 35
	// normaliserSizeBytes is the length of its last part.
	normaliserSizeBytes = 2
	// undatedUnit is short against the week after which update ids jump and long against the day for which Telegram retries.
	undatedUnit = 3 * 24 * time.Hour
	// signBit, flipped, makes negative numbers sort below positive ones as bytes.
	signBit = 1 << 63
)

// NewVersion returns the version of the snapshot that s describes.
func NewVersion(s Stamp) Version {
	b := make([]byte, 0, versionSizeBytes)
	var date [8]byte
	binary.BigEndian.PutUint64(date[:], uint64(max(s.Date.Unix(), 0)))
	b = append(b, date[3:]...)
	b = append(b, 0)
	if s.Edit {
		b[len(b)-1] = 1
	}
	b = append(b, byte(s.Source.Transport))
	b = appendSigned(b, s.Source.Account)
	var threes uint16
	if !s.Undated.IsZero() {
		threes = uint16(max(s.Undated.Unix(), 0) / int64(undatedUnit/time.Second)) //nolint:gosec // fits until the year 2508
	}
	b = binary.BigEndian.AppendUint16(b, threes)
	b = appendSigned(b, s.Sequence)
	b = append(b, s.Hash[:8]...)
	b = binary.BigEndian.AppendUint16(b, s.Normaliser)
	return Version(b)
}

// Snapshot returns the part of v that names the snapshot, whichever normaliser read it.
func (v Version) Snapshot() Version { return v[:max(0, len(v)-normaliserSizeBytes)] }

func appendSigned(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n)^signBit) //nolint:gosec // reinterpreting the bits is the point
}
