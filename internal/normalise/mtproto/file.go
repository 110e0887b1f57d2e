package mtproto

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
)

// The types of files whose ids are the same for everybody, as TDLib numbers them (td/telegram/files/FileType.h, FileTypeClass).
const (
	uniquePhoto    = 1
	uniqueDocument = 2
)

// photoUniqueID returns the Bot API's file_unique_id of one size of a photo. The smallest square sizes a and c are numbered by themselves.
func photoUniqueID(id int64, sizeType byte) string {
	switch sizeType {
	case 'a':
		sizeType = 0
	case 'c':
		sizeType = 1
	default:
		sizeType += 5
	}
	return uniqueID(append(idBytes(uniquePhoto, id), sizeType))
}

// documentUniqueID returns the Bot API's file_unique_id of a document.
func documentUniqueID(id int64) string { return uniqueID(idBytes(uniqueDocument, id)) }

func idBytes(fileType uint32, id int64) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 13), fileType)
	return binary.LittleEndian.AppendUint64(b, uint64(id)) //nolint:gosec // reinterpreting the bits is the point
}

// uniqueID writes b as text: each run of zeros as one zero and its length, and that in base64.
func uniqueID(b []byte) string {
	short := make([]byte, 0, 2*len(b))
	var zeros byte
	for _, c := range b {
		if c == 0 {
			zeros++
			continue
		}
		if zeros > 0 {
			short = append(short, 0, zeros)
			zeros = 0
		}
		short = append(short, c)
	}
	if zeros > 0 {
		short = append(short, 0, zeros)
	}
	return base64.RawURLEncoding.EncodeToString(short)
}

// photoSize is a size of a photo that is a file of its own; what comes inside of the message (thumbnails, outlines) is none.
type photoSize struct {
	letter        byte
	width, height int
	sizeBytes     int
}

// largestOf returns the largest size, by area and then by bytes, as the normaliser of the Bot API does.
func largestOf(sizes []tg.PhotoSizeClass) (largest photoSize, found bool) {
	for _, s := range sizes {
		var size photoSize
		var letter string
		switch s := s.(type) {
		case *tg.PhotoSize:
			letter, size = s.Type, photoSize{width: s.W, height: s.H, sizeBytes: s.Size}
		case *tg.PhotoSizeProgressive:
			letter, size = s.Type, photoSize{width: s.W, height: s.H}
			for _, bytes := range s.Sizes {
				size.sizeBytes = max(size.sizeBytes, bytes)
			}
		}
		if len(letter) != 1 || letter[0] >= 0x80 {
			continue
		}
		size.letter = letter[0]
		if !found || size.larger(largest) {
			largest, found = size, true
		}
	}
	return largest, found
}

func (p photoSize) larger(than photoSize) bool {
	area, thanArea := int64(p.width)*int64(p.height), int64(than.width)*int64(than.height)
	return area > thanArea || area == thanArea && p.sizeBytes > than.sizeBytes
}

// photoFile returns the photo as a file; none when it is gone.
func photoFile(p tg.PhotoClass) []content.Media {
	photo, is := p.(*tg.Photo)
	if !is {
		return nil
	}
	size, found := largestOf(photo.Sizes)
	if !found {
		return nil
	}
	return []content.Media{{
		Kind: "photo", FileUniqueID: photoUniqueID(photo.ID, size.letter), SizeBytes: int64(size.sizeBytes),
		Width: size.width, Height: size.height,
	}}
}

// documentFile returns the document as a file of what its attributes say it is; none when it is gone.
func documentFile(d tg.DocumentClass) []content.Media {
	document, is := d.(*tg.Document)
	if !is {
		return nil
	}
	a := attributesOf(document.Attributes)
	file := content.Media{
		Kind: a.kind(), FileUniqueID: documentUniqueID(document.ID), MIMEType: clean(document.MimeType), SizeBytes: document.Size,
	}
	switch file.Kind {
	case "sticker":
		file.Width, file.Height, file.MIMEType = a.width, a.height, ""
	case "video_note":
		file.Width, file.Height, file.Duration, file.MIMEType = a.width, a.width, a.duration, ""
	case "video", "animation":
		file.Width, file.Height, file.Duration, file.FileName = a.width, a.height, a.duration, a.name
	case "audio":
		file.Duration, file.FileName = a.duration, a.name
	case "voice":
		file.Duration = a.duration
	default:
		file.FileName = a.name
	}
	return []content.Media{file}
}

// attributes is what a document says of itself.
type attributes struct {
	sticker, animated, video, round, audio, voice bool

	width, height int
	duration      time.Duration
	name          string
}

func attributesOf(list []tg.DocumentAttributeClass) (a attributes) {
	for _, one := range list {
		switch one := one.(type) {
		case *tg.DocumentAttributeSticker:
			a.sticker = true
		case *tg.DocumentAttributeAnimated:
			a.animated = true
		case *tg.DocumentAttributeVideo:
			a.video, a.round = true, one.RoundMessage
			a.width, a.height, a.duration = one.W, one.H, seconds(one.Duration)
		case *tg.DocumentAttributeAudio:
			a.audio, a.voice, a.duration = true, one.Voice, time.Duration(max(one.Duration, 0))*time.Second
		case *tg.DocumentAttributeImageSize:
			a.width, a.height = one.W, one.H
		case *tg.DocumentAttributeFilename:
			a.name = clean(one.FileName)
		}
	}
	return a
}

// seconds rounds up to whole seconds, as the Bot API tells them.
func seconds(s float64) time.Duration {
	if !(s > 0 && s < math.MaxInt32) {
		return 0
	}
	return time.Duration(math.Ceil(s)) * time.Second
}

// kind returns what the Bot API calls such a document. A sticker may be animated and a video, an animation a video without sound.
func (a *attributes) kind() string {
	switch {
	case a.sticker:
		return "sticker"
	case a.animated:
		return "animation"
	case a.round:
		return "video_note"
	case a.video:
		return "video"
	case a.voice:
		return "voice"
	case a.audio:
		return "audio"
	default:
		return "document"
	}
}
