package store_test

import (
	"testing"

	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.DeadLetters)
}

func TestDeadLetterMoves(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.DeadLetterMoves)
}
