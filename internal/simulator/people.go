package simulator

import (
	"math/rand/v2"
	"slices"

	"github.com/tgfleet/tgfleet/internal/content"
)

var firstNames = []string{
	"Anna", "Boris", "Chidi", "Дарья", "Élodie", "فاطمه", "Giorgos", "Hüseyin", "Ítalo", "Jún", "Катя", "林", "Māra", "Nguyễn", "Ólafur",
	"Priya 🌸", "Quentin", "Рустам", "さくら", "Tomáš", "Улугбек", "𝓥𝓲𝓬𝓽𝓸𝓻", "Wiktoria", "👩‍👩‍👧 Xenia", "Yael", "Žofie",
}

var lastNames = []string{
	"", "", "", "Ivanova", "Okafor", "Соколов", "de la Cruz", "Müller 🇩🇪", "Παπαδόπουλος", "田中", "حسینی", "O'Brien", "<b>Smith</b>", "& Co",
}

var languages = []string{"", "en", "ru", "uk", "uz", "fa", "de", "pt-br", "zh-hans", "ja", "el", "ar"}

var groupTitles = []string{
	"Flat 12 🏠", "Соседи", "Go gophers ʕ◔ϖ◔ʔ", "Wedding 👰🤵", "Барахолка | объявления", "Pick-up football ⚽", "読書会", "Support & sales",
	"باشگاه کتاب", "Café crew ☕", "Remote jobs", "Mamas & Papas 👶🏽",
}

var channelTitles = []string{
	"City news", "Дайджест вакансий", "Deals of the day 🔥", "Road reports 🚧", "Наука 🔬", "Recipes by Élodie", "اخبار", "Weather 🌦",
}

var topicNames = []string{"General chat", "Объявления", "Help ❓", "Off-topic 🎲", "Jobs", "Fotos 📷"}

// pick returns one of the choices.
func pick[T any](random *rand.Rand, choices []T) T { return choices[random.IntN(len(choices))] }

// chance is true in about one of n cases.
func chance(random *rand.Rand, n int) bool { return random.IntN(n) == 0 }

// newPerson returns the next person of the town.
func newPerson(random *rand.Rand, number int) *user {
	person := &user{
		ID:           firstPersonID + int64(number)*7_919 + random.Int64N(7_919),
		FirstName:    pick(random, firstNames),
		LastName:     pick(random, lastNames),
		LanguageCode: pick(random, languages),
		IsPremium:    chance(random, 5),
	}
	if !chance(random, 3) {
		person.Username = "person_" + idText(person.ID%1_000_000)
	}
	return person
}

// privateChat returns the chat that a person has with every bot that it talks to: its id is the person's.
func privateChat(person *user) chatInfo {
	return chatInfo{
		ID: content.ChatID(person.ID), Type: content.Private,
		FirstName: person.FirstName, LastName: person.LastName, Username: person.Username,
	}
}

// room is a chat of the town, with the bots that see it.
type room struct {
	chat *chat
	bots []*bot
	// recent holds the last posts, the newest at the end: what is answered, edited and forwarded.
	recent []*post
	// topics are the threads of a forum.
	topics []content.MessageID
	// discussion is the group into which Telegram copies a channel's posts; nil when it has none.
	discussion *room
}

// mostRecent bounds what a room remembers.
const mostRecent = 32

// town is the people, the chats and the bots between which the traffic happens. Its owner is the goroutine in Traffic, and it
// is touched with the server's mu held, because chats and bots are the server's.
type town struct {
	server *Server
	random *rand.Rand
	bots   []*bot
	people []*user
	// talk are the rooms in which people speak; channels the rooms in which chats do.
	talk     []*room
	channels []*room
	// left is how many updates may still be posted; negative means any number.
	left int
	// spareGroups is how many basic groups may still become supergroups.
	spareGroups int
	serial      int64
}

// newTown settles people and chats around the server's bots. The caller holds mu.
func (s *Server) newTown(limit int) *town {
	t := &town{server: s, bots: slices.Clone(s.bots), left: -1}
	s.towns++
	t.random, t.serial = newRandom(s.seed, trafficStream+s.towns<<8), int64(s.towns)<<32 //nolint:gosec // a few towns at most
	if limit > 0 {
		t.left = limit
	}
	for number := range 12 + 8*len(t.bots) {
		t.people = append(t.people, newPerson(t.random, number))
	}
	for i, b := range t.bots {
		for range 6 {
			person := pick(t.random, t.people)
			t.open(&t.talk, privateChat(person), []*user{person}, b)
		}
		t.open(&t.talk, t.group(content.Group, -4_100_000_000-int64(i)), t.crowd(), t.company(b)...)
		t.open(&t.talk, t.group(content.Group, -4_200_000_000-int64(i)), t.crowd(), t.company(b)...)
		t.spareGroups++
		supergroup := t.open(&t.talk, t.group(content.Supergroup, -1_002_000_000_000-int64(i)), t.crowd(), t.company(b)...)
		if i%2 == 0 {
			info := t.group(content.Supergroup, -1_002_200_000_000-int64(i))
			info.IsForum = true
			t.open(&t.talk, info, t.crowd(), t.company(b)...)
		}
		info := chatInfo{ID: content.ChatID(-1_001_500_000_000 - int64(i)), Type: content.Channel, Title: pick(t.random, channelTitles)}
		if !chance(t.random, 3) {
			info.Username = "channel_" + idText(int64(i+1))
		}
		channel := t.open(&t.channels, info, t.crowd(), t.company(b)...)
		if chance(t.random, 2) {
			channel.discussion = supergroup
		}
	}
	return t
}

// open makes a room for a chat.
func (t *town) open(rooms *[]*room, info chatInfo, members []*user, bots ...*bot) *room {
	c, known := t.server.chats[info.ID]
	if !known {
		c = t.server.addChat(info, members...)
		c.lastMessageID = content.MessageID(t.random.IntN(50_000))
	}
	r := &room{chat: c, bots: bots}
	*rooms = append(*rooms, r)
	return r
}

func (t *town) group(kind content.ChatType, id int64) chatInfo {
	info := chatInfo{ID: content.ChatID(id), Type: kind, Title: pick(t.random, groupTitles)}
	if kind == content.Supergroup && chance(t.random, 2) {
		info.Username = "group_" + idText(-id%1_000_000)
	}
	return info
}

// somewhere returns any room.
func (t *town) somewhere() *room {
	if chance(t.random, channelEvery) {
		return pick(t.random, t.channels)
	}
	return pick(t.random, t.talk)
}

// channelEvery is how many rooms there are to one channel, when one is picked.
const channelEvery = 8

// crowd returns some people.
func (t *town) crowd() []*user {
	crowd := make([]*user, 0, 8)
	for range 4 + t.random.IntN(5) {
		crowd = append(crowd, pick(t.random, t.people))
	}
	return crowd
}

// company returns b, and now and then a second bot of the fleet that sees the same chat.
func (t *town) company(b *bot) []*bot {
	if other := pick(t.random, t.bots); other != b && chance(t.random, 3) {
		return []*bot{b, other}
	}
	return []*bot{b}
}
