package ingest

import "time"

// Spooled is one batch of envelopes in the database's spool: the place for what the queue does not take, and the first stop of
// every batch whose queue dies with the process.
type Spooled struct {
	// ID is given by the database.
	ID int64
	// Payload is the batch, written as for the queue.
	Payload []byte
	// Updates counts the envelopes in Payload.
	Updates int
	// OldestAt is the earliest ReceivedAt in Payload.
	OldestAt time.Time
	// DueAt is when a worker may claim the batch; the zero time means at once.
	DueAt time.Time
	// Attempts counts the failures that workers have reported for the batch.
	Attempts int
	// Crashes counts the claims that ended without a word from their worker.
	Crashes int
	// Blamed holds the parts of the batch that were marked, as being run, when such a claim ended: one entry for each claim.
	Blamed []int
}
