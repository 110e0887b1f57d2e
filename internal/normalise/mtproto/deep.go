package mtproto

import (
	"encoding/binary"

	"github.com/gotd/td/tg"
)

// TL lets some objects hold objects of their own type: formatted text, blocks of a page, JSON, media. The decoder goes as deep as the bytes do, on
// the stack, and when it fails it writes one more copy of its error for every level: a thousand levels of broken bytes cost it half a second, a
// hundred thousand would keep it busy for hours, and a million levels of sound ones end the process. Telegram's own limits are far
// below, so whatever looks that deep is refused unread.
const (
	deepest = 2048
	// wordBytes is what everything in TL is aligned to.
	wordBytes = 4
	// widestStepWords is how far apart the openings of two levels are taken for levels of one nesting.
	widestStepWords = 16
)

// tooDeep tells whether raw has more openings of nested objects, one soon after the other, than anything that Telegram sends. It counts
// more levels than there are, never fewer, as long as each opens within widestStepWords of the one around it.
func tooDeep(raw []byte) bool {
	if len(raw) < deepest*wordBytes {
		return false
	}
	levels, since := 0, 0
	for ; len(raw) >= wordBytes; raw = raw[wordBytes:] {
		since++
		if !nests(binary.LittleEndian.Uint32(raw)) {
			continue
		}
		if since > widestStepWords {
			levels = 0
		}
		levels++
		since = 0
		if levels > deepest {
			return true
		}
	}
	return false
}

// nests tells whether the constructor holds objects that may be of its own type again.
func nests(id uint32) bool {
	switch id {
	case tg.TextBoldTypeID, tg.TextItalicTypeID, tg.TextUnderlineTypeID, tg.TextStrikeTypeID, tg.TextFixedTypeID,
		tg.TextURLTypeID, tg.TextEmailTypeID, tg.TextConcatTypeID, tg.TextSubscriptTypeID, tg.TextSuperscriptTypeID,
		tg.TextMarkedTypeID, tg.TextPhoneTypeID, tg.TextAnchorTypeID, tg.TextSpoilerTypeID, tg.TextMentionTypeID,
		tg.TextHashtagTypeID, tg.TextBotCommandTypeID, tg.TextCashtagTypeID, tg.TextAutoURLTypeID, tg.TextAutoEmailTypeID,
		tg.TextAutoPhoneTypeID, tg.TextBankCardTypeID, tg.TextMentionNameTypeID, tg.TextDateTypeID, tg.TextDiffTypeID,
		tg.PageBlockListTypeID, tg.PageBlockOrderedListTypeID, tg.PageBlockCoverTypeID, tg.PageBlockEmbedPostTypeID,
		tg.PageBlockCollageTypeID, tg.PageBlockSlideshowTypeID, tg.PageBlockDetailsTypeID,
		tg.PageBlockBlockquoteBlocksTypeID, tg.PageListItemBlocksTypeID, tg.PageListOrderedItemBlocksTypeID,
		tg.JSONArrayTypeID, tg.JSONObjectTypeID, tg.MessageExtendedMediaTypeID, tg.MessageMediaPaidMediaTypeID,
		tg.MessageMediaInvoiceTypeID, tg.MessageMediaStoryTypeID:
		return true
	default:
		return false
	}
}
