package batch_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

var update = flag.Bool("update", false, "write the files in testdata that are missing")

var received = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

func envelope(raw string) ingest.Envelope {
	return ingest.Envelope{
		Source:     ingest.Source{Transport: ingest.BotAPI, Account: 7000000001},
		ReceivedAt: received, Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: []byte(raw),
	}
}

// samples is one batch of each kind that was ever written.
func samples() map[string]batch.Batch {
	history := envelope("\x01\x02\x03")
	history.Source = ingest.Source{Transport: ingest.MTProto, Account: -5}
	history.Origin, history.Format, history.Layer, history.Request = ingest.Backfill, ingest.MTProtoTL, 228, []byte("getHistory")
	return map[string]batch.Batch{
		"v1-plain":   {Envelopes: []ingest.Envelope{envelope(`{"update_id":1}`)}},
		"v1-s2":      {Envelopes: []ingest.Envelope{envelope(strings.Repeat(`{"update_id":1}`, 40)), envelope(`{"update_id":2}`)}},
		"v1-spooled": {SpoolID: 99, Envelopes: []ingest.Envelope{envelope(`{"update_id":3}`)}},
		"v1-mtproto": {Envelopes: []ingest.Envelope{history}},
		"v1-bare":    {Envelopes: []ingest.Envelope{{ReceivedAt: time.UnixMicro(0).UTC()}}},
	}
}

func TestDecodesForEverWhatWasEverWritten(t *testing.T) {
	t.Parallel()
	for name, want := range samples() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", name+".hex")
			if _, err := os.Stat(path); *update && os.IsNotExist(err) {
				require.NoError(t, os.WriteFile(path, []byte(hex.EncodeToString(batch.Encode(want))+"\n"), 0o600))
			}
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			data, err := hex.DecodeString(strings.TrimSpace(string(text)))
			require.NoError(t, err)
			got, err := batch.Decode(data)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestDecodeReturnsExactlyWhatWasEncoded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := batch.Batch{SpoolID: rapid.Int64().Draw(t, "spool")}
		for range rapid.IntRange(0, 70).Draw(t, "envelopes") {
			want.Envelopes = append(want.Envelopes, ingest.Envelope{
				Source: ingest.Source{
					Transport: ingest.Transport(rapid.Byte().Draw(t, "transport")),
					Account:   rapid.Int64().Draw(t, "account"),
				},
				ReceivedAt: time.UnixMicro(rapid.Int64Range(-1<<50, 1<<55).Draw(t, "received")).UTC(),
				Origin:     ingest.Origin(rapid.Byte().Draw(t, "origin")),
				Format:     ingest.Format(rapid.Byte().Draw(t, "format")),
				Layer:      rapid.Uint32().Draw(t, "layer"),
				Request:    drawBytes(t, "request"),
				Raw:        drawBytes(t, "raw"),
			})
		}
		got, err := batch.Decode(batch.Encode(want))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func drawBytes(t *rapid.T, label string) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, label)
	if len(b) == 0 {
		return nil
	}
	return b
}

func TestEveryTruncationIsAnError(t *testing.T) {
	t.Parallel()
	whole := batch.Encode(samples()["v1-plain"])
	for n := range whole {
		if n == 3 {
			continue // the head and an empty body: a batch without envelopes
		}
		_, err := batch.Decode(whole[:n])
		require.Error(t, err, "%d of %d bytes", n, len(whole))
		require.Equal(t, fault.Permanent, fault.ClassOf(err))
	}
}

func TestHostileInputIsRefusedWithoutAQuote(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"empty":                  {},
		"newer version":          {2, 0, 0},
		"unknown codec":          {1, 9, 0},
		"s2 that is none":        append([]byte{1, 1}, "\xff\xff\xff\xff\xff\xff private words"...),
		"countless envelopes":    append([]byte{1, 0, 0}, bytes.Repeat([]byte{1, 1, 1, 0, 0, 0, 0, 0}, 1<<16+1)...),
		"s2 bomb":                {1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"field longer than rest": {1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0xff, 0x01, 'p'},
		"layer out of range":     {1, 0, 0, 1, 1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := batch.Decode(data)
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
			require.NotContains(t, err.Error(), "private")
		})
	}
}

func TestRepetitiveBodiesShrink(t *testing.T) {
	t.Parallel()
	b := batch.Batch{}
	size := 0
	for range 64 {
		env := envelope(`{"update_id":1,"message":{"text":"` + strings.Repeat("the same words ", 50) + `"}}`)
		size += batch.SizeBytes(&env)
		b.Envelopes = append(b.Envelopes, env)
	}
	require.Less(t, len(batch.Encode(b)), size/4)
}

// updates are the bodies that the normaliser is tested with.
const updates = "../../normalise/botapi/testdata/*/*.json"

// said is all that an error of Decode may say.
var said = regexp.MustCompile(`^decode batch of \d+ bytes: (truncated|version \d+: want 1; was it written by a newer program\?|codec \d+: unknown|` +
	`more than \d+ envelopes|s2: (\d+ bytes decoded: want at most \d+|s2: [a-z ]+))$`)

func FuzzDecode(f *testing.F) {
	for _, sample := range samples() {
		f.Add(batch.Encode(sample))
	}
	for _, hostile := range []string{"", "\x02\x00private", "\x01\x09private", "\x01\x01\xff\xff\xff\xffprivate", "\x01\x00\x00\x01\x01\x01private"} {
		f.Add([]byte(hostile))
	}
	fixtures, err := filepath.Glob(updates)
	require.NoError(f, err)
	require.NotEmpty(f, fixtures)
	for _, fixture := range fixtures {
		body, err := os.ReadFile(fixture)
		require.NoError(f, err)
		f.Add(batch.Encode(batch.Batch{SpoolID: 5, Envelopes: []ingest.Envelope{envelope(string(body)), envelope("{}")}}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := batch.Decode(data)
		if err != nil {
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
			require.Regexp(t, said, err.Error())
			require.Zero(t, b)
			return
		}
		again, err := batch.Decode(batch.Encode(b))
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"update_id":1}`), []byte(""), int64(7), int64(1795348800000000), uint32(0))
	f.Fuzz(func(t *testing.T, raw, request []byte, account, micros int64, layer uint32) {
		env := envelope(string(raw))
		env.Source.Account, env.Layer, env.Request = account, layer, request
		env.ReceivedAt = time.UnixMicro(micros).UTC()
		b, err := batch.Decode(batch.Encode(batch.Batch{Envelopes: []ingest.Envelope{env}}))
		require.NoError(t, err)
		require.Len(t, b.Envelopes, 1)
		require.True(t, bytes.Equal(raw, b.Envelopes[0].Raw) && bytes.Equal(request, b.Envelopes[0].Request))
		require.Equal(t, account, b.Envelopes[0].Source.Account)
		require.Equal(t, layer, b.Envelopes[0].Layer)
		require.True(t, env.ReceivedAt.Equal(b.Envelopes[0].ReceivedAt))
	})
}

func BenchmarkEncode64(b *testing.B) {
	bt := batch.Batch{}
	for range 64 {
		bt.Envelopes = append(bt.Envelopes, envelope(`{"update_id":1,"message":{"text":"`+strings.Repeat("various words ", 60)+`"}}`))
	}
	b.ReportAllocs()
	for b.Loop() {
		batch.Encode(bt)
	}
}
