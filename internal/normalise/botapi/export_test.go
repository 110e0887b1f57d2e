package botapi

import (
	"reflect"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Kinds are the names of the kinds that an update is read for.
func Kinds() (names []ingest.Kind) {
	for field := range reflect.TypeFor[update]().Fields() {
		if field.Type.Kind() == reflect.Pointer {
			names = append(names, ingest.Kind(field.Tag.Get("json")))
		}
	}
	return names
}

// Marks are the names of the content and service fields that only make a message's kind.
func Marks() []string {
	var names []string
	for field := range reflect.TypeFor[marks]().Fields() {
		names = append(names, field.Tag.Get("json"))
	}
	return names
}
