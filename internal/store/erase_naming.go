package store

import (
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"github.com/tgfleet/tgfleet/internal/content"
)

// Telegram writes the id of a person or of a chat as a number: as the member of an object whose name ends with id, as an element of an array,
// or in a link. Dates and counts, which may be the same number, stand elsewhere.

// namingExpression returns the regular expression, as both Go and PostgreSQL read it, of texts that name one of ids or of words, which are
// ids that Telegram writes as texts.
func namingExpression(ids []int64, words []string) string {
	numbers := make([]string, len(ids))
	for i, id := range ids {
		numbers[i] = strconv.FormatInt(id, 10)
	}
	alternatives := []string{`(id"\s*:\s*|[\[,]\s*|id=)(` + strings.Join(numbers, "|") + `)([^0-9]|$)`}
	for _, word := range words {
		alternatives = append(alternatives, `"`+regexp.QuoteMeta(word)+`"`)
	}
	return strings.Join(alternatives, "|")
}

// naming returns the condition that text, an expression, names the subject or one of words.
func (w *erasure) naming(text string, words []string) (condition string, args []any) {
	if w.db.dialect == onPostgres {
		return text + " ~ ?", []any{namingExpression(w.chats, words)}
	}
	// SQLite has no regular expressions, and no need of them once there is no space between a name and its number.
	bare := "replace(replace(replace(" + text + ", ' ', ''), char(9), ''), char(10), '')"
	var patterns []string
	for _, id := range w.chats {
		number := strconv.FormatInt(id, 10)
		patterns = append(patterns, `*id":`+number+`[^0-9]*`, `*[[,]`+number+`[^0-9]*`, `*id=`+number+`[^0-9]*`)
	}
	for _, word := range words {
		patterns = append(patterns, `*"`+word+`"*`)
	}
	conditions := make([]string, len(patterns))
	for i, pattern := range patterns {
		conditions[i], args = bare+" GLOB ?", append(args, pattern)
	}
	return "(" + strings.Join(conditions, " OR ") + ")", args
}

// bytesNaming returns the condition that the bytes of column, which are JSON or TL, name the subject or one of words.
func (w *erasure) bytesNaming(column string, words []string) (condition string, args []any) {
	named, args := w.naming(w.db.dialect.textOf(column), words)
	conditions := []string{named}
	for _, id := range w.chats {
		if w.db.dialect == onPostgres {
			conditions = append(conditions, "position(decode(?, 'hex') in "+column+") > 0")
			args = append(args, hex.EncodeToString(tlOf(id)))
			continue
		}
		conditions, args = append(conditions, "instr("+column+", ?) > 0"), append(args, tlOf(id))
	}
	return "(" + strings.Join(conditions, " OR ") + ")", args
}

// tlOf returns an id as TL writes it, without what tells a channel's from a group's from a person's: eight bytes, the lowest first
// (https://core.telegram.org/mtproto/serialize). JSON has no such bytes in it.
func tlOf(id int64) []byte {
	if channel, ok := content.ChatID(id).Channel(); ok {
		id = channel
	} else if id < 0 {
		id = -id
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(id)) //nolint:gosec // it is above zero
}

// textOf returns the expression for the bytes of column as text, whatever they are.
func (d dialect) textOf(column string) string {
	if d == onSQLite {
		return "CAST(" + column + " AS text)"
	}
	return "encode(" + column + ", 'escape')"
}
