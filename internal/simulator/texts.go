package simulator

import "strings"

var sentences = []string{
	"Is anyone free on Saturday?", "Нужен ремонт стиральной машины, кто может посоветовать мастера?", "I'll be there in ten minutes 🏃",
	"Сдаю квартиру, 2 комнаты, 45 000 в месяц, без посредников.", "¿Alguien vende una bicicleta? 🚲", "明日の会議は10時からです。", "👍👍🏽👍🏿",
	"قیمت چنده؟", "The parcel has arrived, thank you all!", "lol 😂😂😂", "Продам коляску, почти новая 👶🏼 самовывоз", "See the photos below.",
	"Wer kommt heute zum Training? ⚽️", "Quoi de neuf ? 🇫🇷",
	"𝕋𝕙𝕚𝕤 𝕚𝕤 𝕒 𝕤𝕚𝕘𝕟 that fonts have gone too far", "Ищу программиста на Go, удалённо, от 300к",
	"Could you send me the invoice once more? The first one had the wrong date on it, and my accountant insists.", "ok",
	"Доброе утро! ☀️ Напоминаю, что завтра с 9 до 12 не будет воды.", "1 + 1 < 3 && 3 > 2, isn't it?", "line one\nline two\n\tline three",
	"👨‍👩‍👧‍👦 family dinner at seven", "a \"quoted\" word and a back\\slash", "\u200fשלום לכולם\u200f",
	"ข้าวผัด 60 บาท", "Ok 👌 see you 2️⃣nite",
}

// marked are pieces of text with what Telegram finds in them. Source: https://core.telegram.org/bots/api#messageentity.
var marked = []struct {
	words string
	mark  entity
}{
	{"important", entity{Type: "bold"}},
	{"слегка 🌊", entity{Type: "italic"}},
	{"underlined", entity{Type: "underline"}},
	{"old price", entity{Type: "strikethrough"}},
	{"he dies at the end 💀", entity{Type: "spoiler"}},
	{"go test ./...", entity{Type: "code"}},
	{"fmt.Println(\"𝛑\")", entity{Type: "pre", Language: "go"}},
	{"here", entity{Type: "text_link", URL: "https://example.com/a?b=1&c=2"}},
	{"https://example.com/объявление", entity{Type: "url"}},
	{"@durov", entity{Type: "mention"}},
	{"#продам", entity{Type: "hashtag"}},
	{"$TON", entity{Type: "cashtag"}},
	{"/start@fleet_bot", entity{Type: "bot_command"}},
	{"me@example.com", entity{Type: "email"}},
	{"+1 555 0100", entity{Type: "phone_number"}},
	{"🔥", entity{Type: "custom_emoji", CustomEmojiID: "5368324170671202286"}},
	{"said the 🦊 to the crow", entity{Type: "blockquote"}},
	{"and so on, for many lines", entity{Type: "expandable_blockquote"}},
}

// write composes a text of a few sentences and marked pieces.
func (t *town) write() (text string, entities []entity) {
	var c composer
	for range 1 + t.random.IntN(3) {
		if c.units > 0 {
			c.add(" ", nil)
		}
		c.add(pick(t.random, sentences), nil)
		if chance(t.random, 2) {
			piece := pick(t.random, marked)
			c.add(" ", nil)
			c.add(piece.words, &piece.mark)
		}
	}
	if chance(t.random, 12) {
		person := pick(t.random, t.people)
		c.add(" ", nil)
		c.add(person.FirstName, &entity{Type: "text_mention", User: person})
	}
	if chance(t.random, 40) {
		// Both are allowed in JSON and refused by PostgreSQL.
		c.add(" zero \x00 and half an emoji "+string(loneSurrogate)+".", nil)
	}
	return c.text.String(), c.entities
}

// part returns some words of a text, as a quoted reply does, and where they begin in UTF-16 code units.
func (t *town) part(text string) (words string, position int) {
	all := strings.SplitAfter(text, " ")
	from := t.random.IntN(len(all))
	to := min(from+1+t.random.IntN(4), len(all))
	return strings.TrimRight(strings.Join(all[from:to], ""), " "), utf16Length(strings.Join(all[:from], ""))
}

// keyboard returns buttons under a message; a new one for each call, so that a change of it is a change.
func (t *town) keyboard() *inlineKeyboard {
	return &inlineKeyboard{[][]inlineButton{
		{{Text: "👍 " + idText(1+t.random.Int64N(500)), CallbackData: "like:" + idText(t.number())}, {Text: "👎", CallbackData: "dislike"}},
		{{Text: "Open", URL: "https://example.com/" + idText(t.number())}},
	}}
}
