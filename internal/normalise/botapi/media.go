package botapi

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
)

// files returns the name of the field that carries m's files, "" when there is none, and the files: one, but for paid
// media. Two fields come with another one for old clients' sake and are looked at first: animation with document,
// live_photo with photo.
func (m *message) files() (content.MessageKind, []content.Media) {
	switch {
	case m.Animation != nil:
		return "animation", appendFile(nil, "animation", m.Animation)
	case m.LivePhoto != nil:
		return "live_photo", appendFile(nil, "live_photo", m.LivePhoto)
	case m.Photo != nil:
		return "photo", appendPhoto(nil, m.Photo)
	case m.Video != nil:
		return "video", appendFile(nil, "video", m.Video)
	case m.Document != nil:
		return "document", appendFile(nil, "document", m.Document)
	case m.Audio != nil:
		return "audio", appendFile(nil, "audio", m.Audio)
	case m.Voice != nil:
		return "voice", appendFile(nil, "voice", m.Voice)
	case m.VideoNote != nil:
		return "video_note", appendFile(nil, "video_note", m.VideoNote)
	case m.Sticker != nil:
		return "sticker", appendFile(nil, "sticker", m.Sticker)
	case m.PaidMedia != nil:
		return "paid_media", m.PaidMedia.files()
	default:
		return "", nil
	}
}

// files returns the files among the paid items; a preview, all that is shown before it is paid for, has none.
func (p *paidMedia) files() []content.Media {
	var list []content.Media
	for i := range p.Items {
		item := &p.Items[i]
		switch {
		case item.LivePhoto != nil:
			list = appendFile(list, "live_photo", item.LivePhoto)
		case item.Video != nil:
			list = appendFile(list, "video", item.Video)
		default:
			list = appendPhoto(list, item.Photo)
		}
	}
	return list
}

// appendFile appends f, unless it names no file.
func appendFile(list []content.Media, kind string, f *file) []content.Media {
	if f.FileUniqueID == "" {
		return list
	}
	return append(list, content.Media{
		Kind:         kind,
		FileUniqueID: f.FileUniqueID,
		FileID:       f.FileID,
		FileName:     f.FileName,
		MIMEType:     f.MIMEType,
		SizeBytes:    f.FileSize,
		// A round video tells its diameter.
		Width:    int(max(f.Width, f.Length)),
		Height:   int(max(f.Height, f.Length)),
		Duration: time.Duration(f.Duration) * time.Second,
		Rest:     restOf(f.Rest),
	})
}

// appendPhoto appends the largest of sizes, by area and then by bytes; Telegram promises no order.
func appendPhoto(list []content.Media, sizes []photoSize) []content.Media {
	var largest *photoSize
	for i := range sizes {
		size := &sizes[i]
		if size.FileUniqueID != "" && (largest == nil || size.larger(largest)) {
			largest = size
		}
	}
	if largest == nil {
		return list
	}
	return append(list, content.Media{
		Kind:         "photo",
		FileUniqueID: largest.FileUniqueID,
		FileID:       largest.FileID,
		SizeBytes:    largest.FileSize,
		Width:        int(largest.Width),
		Height:       int(largest.Height),
	})
}

func (p *photoSize) larger(than *photoSize) bool {
	area, thanArea := int64(p.Width)*int64(p.Height), int64(than.Width)*int64(than.Height)
	return area > thanArea || area == thanArea && p.FileSize > than.FileSize
}
