package botapi

import (
	"reflect"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// LedgerKinds are the kinds that are ledger rows only.
func LedgerKinds() []ingest.Kind { return ledgerKinds }

// Marks are the names of the content and service fields that only make a message's kind.
func Marks() []string {
	var names []string
	for field := range reflect.TypeFor[marks]().Fields() {
		names = append(names, field.Tag.Get("json"))
	}
	return names
}
