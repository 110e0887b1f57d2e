package store_test

import (
	"testing"

	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestSealed(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.Sealed)
}
