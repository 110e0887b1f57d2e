package mtproto_test

import (
	"bytes"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
)

// nested returns the envelope of a post with a page whose title is in bold so many times over, and where in its bytes the title is.
func nested(t testing.TB, levels int) (env ingest.Envelope, title int) {
	t.Helper()
	page := &tg.WebPage{ID: 1, URL: "https://example.org/", DisplayURL: "example.org"}
	page.SetCachedPage(tg.Page{URL: "https://example.org/", Blocks: []tg.PageBlockClass{&tg.PageBlockTitle{Text: &tg.TextPlain{Text: "Title"}}}})
	env = push(t, updates(newPost(said(func(m *tg.Message) {
		m.Message, m.Media = "https://example.org/", &tg.MessageMediaWebPage{Webpage: page}
	}))))
	opening := binaryOf(tg.PageBlockTitleTypeID)
	require.Equal(t, 1, bytes.Count(env.Raw, opening))
	title = bytes.Index(env.Raw, opening) + len(opening)
	bold := bytes.Repeat(binaryOf(tg.TextBoldTypeID), levels)
	env.Raw = append(append(append([]byte{}, env.Raw[:title]...), bold...), env.Raw[title:]...)
	return env, title
}

func TestDeepNestingIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	env, _ := nested(t, 512)
	require.NotEmpty(t, normalised(t, env).Messages, "far deeper than Telegram goes")

	env, title := nested(t, 1_000_000)
	for _, raw := range [][]byte{env.Raw, env.Raw[:title+4*100_000], append(bytes.Clone(env.Raw[:title+4*100_000]), 1)} {
		env.Raw = raw
		_, err := mtproto.New().Normalise(env)
		require.Equal(t, &normalise.Rejected{Class: normalise.TooDeep, Reason: "nested deeper than 2048 levels"}, err)
	}

	// Levels that need more than their opening, and vectors of them.
	var b bin.Buffer
	for range 3000 {
		b.PutID(tg.PageBlockDetailsTypeID)
		b.PutUint32(0)
		b.PutVectorHeader(1)
	}
	env.Raw = append(bytes.Clone(env.Raw[:title]), b.Buf...)
	_, err := mtproto.New().Normalise(env)
	require.Equal(t, &normalise.Rejected{Class: normalise.TooDeep, Reason: "nested deeper than 2048 levels"}, err)
}
