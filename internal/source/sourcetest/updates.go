package sourcetest

import (
	"fmt"
	"strings"
)

// strange are updates that are right and out of the ordinary; each takes an update_id. Whoever decodes and encodes one of them
// on the way changes its bytes.
var strange = []string{
	`{"update_id":%d,"message":{"message_id":1,"date":1700000000,"chat":{"id":1,"type":"private"},"text":"plain"}}`,
	"{ \"update_id\" :\t%d ,\r\n \"message\":{ \"message_id\":2 } }",
	`{"message":{"text":"\u0000 \ud800 \udc00 \/ \u00e9 é 👩‍👩‍👧 <b>&amp;</b> \u2028"},"update_id":%d}`,
	`{"update_id":%d,"kind_of_tomorrow":{"id":9007199254740993,"big":12345678901234567890123,"f":1.10,"e":1E+2,"z":-0}}`,
	`{"message":{"text":"first","text":"second"},"update_id":%d,"message":{"Text":"third"}}`,
	`{"update_id":%d}`,
	`{"update_id":%d,"message":{"text":"` + "\xff\xfe" + `"}}`,
}

// BotAPIUpdates returns n different updates as the Bot API could send them, with rising ids, strange ones among them, one deep and
// one large.
func BotAPIUpdates(n int) [][]byte {
	const firstID = 870_000_001
	updates := make([][]byte, n)
	for i := range updates {
		id := firstID + i
		switch i {
		case len(strange):
			updates[i] = fmt.Appendf(nil, `{"update_id":%d,"message":%s1%s}`, id, strings.Repeat(`{"a":[`, 1000), strings.Repeat(`]}`, 1000))
		case len(strange) + 1:
			updates[i] = fmt.Appendf(nil, `{"update_id":%d,"message":{"text":"%s"}}`, id, strings.Repeat("ж", 200_000))
		default:
			updates[i] = fmt.Appendf(nil, strange[i%len(strange)], id)
		}
	}
	return updates
}
