package botapi

import (
	"reflect"
	"strings"

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

// FieldNames are the names of all fields that are read anywhere in an update.
func FieldNames() []string {
	return appendFieldNames(nil, map[reflect.Type]bool{}, reflect.TypeFor[update]())
}

func appendFieldNames(names []string, seen map[reflect.Type]bool, t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return names
	}
	seen[t] = true
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = appendFieldNames(append(names, name), seen, field.Type)
	}
	return names
}
