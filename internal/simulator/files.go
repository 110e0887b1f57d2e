package simulator

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/tgfleet/tgfleet/internal/account"
)

// newFile returns a file with a file_unique_id, which is the same for all bots, and without a file_id, which is not.
func (t *town) newFile(mostBytes int64) file {
	return file{
		FileUniqueID: "AgAD" + digest(fmt.Sprintf("unique %d %d", t.server.seed, t.number()), 8),
		FileSize:     1_000 + t.random.Int64N(mostBytes),
	}
}

func (t *town) picture(width, height int) file {
	f := t.newFile(1_000)
	f.Width, f.Height = width, height
	f.FileSize += int64(width * height / 8)
	return f
}

// photo returns a photo in its sizes; the largest is not always the last.
func (t *town) photo() []file {
	sizes := []file{t.picture(90, 51), t.picture(320, 180), t.picture(800, 450), t.picture(1280, 720)}
	if chance(t.random, 10) {
		sizes[2], sizes[3] = sizes[3], sizes[2]
	}
	return sizes
}

func (t *town) thumbnail() *file {
	f := t.picture(320, 180)
	return &f
}

// attach gives m one attachment of any kind. captioned says whether the kind may carry a caption.
func (t *town) attach(m *message) (captioned bool) {
	f := t.newFile(20 << 20)
	switch t.random.IntN(14) {
	case 0, 1, 2:
		m.Photo = t.photo()
		m.HasMediaSpoiler = chance(t.random, 10)
	case 3:
		m.Video = t.video()
	case 4:
		f.Width, f.Height, f.Duration, f.FileName, f.MIMEType, f.Thumbnail = 480, 270, 4, "cat.mp4", "video/mp4", t.thumbnail()
		document := f
		document.Width, document.Height, document.Duration = 0, 0, 0
		m.Animation, m.Document = &f, &document
	case 5:
		f.Performer, f.Title, f.Duration, f.FileName, f.MIMEType = "Земфира", "Искала", 213, "track 01.mp3", "audio/mpeg"
		m.Audio = &f
	case 6:
		f.Duration, f.MIMEType = 1+t.random.IntN(120), "audio/ogg"
		m.Voice = &f
	case 7:
		f.Duration, f.Length, f.Thumbnail = 1+t.random.IntN(60), 384, t.thumbnail()
		m.VideoNote = &f
		return false
	case 8, 9:
		f.FileName, f.MIMEType = "договор № 7 (final) 📄.pdf", "application/pdf"
		if chance(t.random, 8) {
			f.FileSize += 3 << 30
		}
		m.Document = &f
	case 10:
		f.Width, f.Height, f.Emoji, f.SetName, f.IsVideo, f.Type = 512, 512, "🤗", "HotCherry", true, "regular"
		m.Sticker = &f
		return false
	case 11:
		m.Contact = &contact{PhoneNumber: "+15550100", FirstName: "Office", UserID: pick(t.random, t.people).ID}
		return false
	case 12:
		m.Dice = &dice{Emoji: "🎲", Value: 1 + t.random.IntN(6)}
		return false
	default:
		here := location{Latitude: 55.75 + t.random.Float64(), Longitude: 37.61 + t.random.Float64()}
		m.Location = &here
		if chance(t.random, 2) {
			m.Venue = &venue{Location: here, Title: "Café «Пушкин»", Address: "Тверской бульвар, 26А"}
		}
		return false
	}
	return true
}

func (t *town) video() *file {
	f := t.newFile(200 << 20)
	f.Width, f.Height, f.Duration, f.FileName, f.MIMEType, f.Thumbnail = 1920, 1080, 37, "VID_2024.mp4", "video/mp4", t.thumbnail()
	return &f
}

// filesFor returns the files with the file_ids that belong to one bot.
func (m media) filesFor(bot account.BotID) media {
	for _, f := range []**file{&m.Animation, &m.Audio, &m.Document, &m.Sticker, &m.Video, &m.VideoNote, &m.Voice} {
		if *f != nil {
			*f = (*f).seenBy(bot)
		}
	}
	sizes := make([]file, 0, len(m.Photo))
	for i := range m.Photo {
		sizes = append(sizes, *m.Photo[i].seenBy(bot))
	}
	m.Photo = sizes
	return m
}

func (f *file) seenBy(bot account.BotID) *file {
	own := *f
	own.FileID = "BQACAgIAAx" + digest(fmt.Sprintf("%d %s", bot, f.FileUniqueID), 30)
	if f.Thumbnail != nil {
		own.Thumbnail = f.Thumbnail.seenBy(bot)
	}
	return &own
}

// digest returns size bytes that look like chance and follow from text alone.
func digest(text string, size int) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:size])
}

// number returns a number that was not there before, for ids that only have to differ.
func (t *town) number() int64 {
	t.serial++
	return t.serial
}
