package seal_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const token = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"

func newKey(t *testing.T, id string) string {
	t.Helper()
	key, err := seal.Generate(id)
	require.NoError(t, err)
	return key.Private().Reveal()
}

func newRing(t *testing.T, keys ...string) *seal.Ring {
	t.Helper()
	ring, err := seal.ParseRing(seal.Secret(strings.Join(keys, ",")))
	require.NoError(t, err)
	return ring
}

func TestWhatIsSealedOpensForItsPurposeOnly(t *testing.T) {
	t.Parallel()
	ring := newRing(t, newKey(t, "k1"))
	sealed, err := ring.Seal(seal.PurposeBotToken, []byte(token))
	require.NoError(t, err)
	require.Regexp(t, `^v1\.k1\.[A-Za-z0-9_-]+$`, sealed)

	opened, err := ring.Open(seal.PurposeBotToken, sealed)
	require.NoError(t, err)
	require.Equal(t, token, opened.Reveal())

	_, err = ring.Open("session", sealed)
	require.Error(t, err)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))

	again, err := ring.Seal(seal.PurposeBotToken, []byte(token))
	require.NoError(t, err)
	require.NotEqual(t, sealed, again, "equal secrets are not seen to be equal")
}

func TestFirstKeySealsAndAllKeysOpen(t *testing.T) {
	t.Parallel()
	older, newer := newKey(t, "2025"), newKey(t, "2026")
	sealed, err := newRing(t, older).Seal("p", []byte(token))
	require.NoError(t, err)

	rotated := newRing(t, newer, older)
	opened, err := rotated.Open("p", sealed)
	require.NoError(t, err)
	require.Equal(t, token, opened.Reveal())
	resealed, err := rotated.Seal("p", []byte(token))
	require.NoError(t, err)
	require.Contains(t, resealed, "v1.2026.")

	_, err = newRing(t, newer).Open("p", sealed)
	require.EqualError(t, err, "open what is sealed for p: key 2025 is not in the ring")
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
}

func TestTheKeyOfASealedTextIsKnownWithoutAnyKey(t *testing.T) {
	t.Parallel()
	older, newer := newKey(t, "2025"), newKey(t, "2026")
	ring := newRing(t, newer, older)
	require.Equal(t, "2026", ring.Sealing())
	require.True(t, ring.Holds("2025"))
	require.False(t, ring.Holds("2024"))
	sealed, err := ring.Seal("p", []byte(token))
	require.NoError(t, err)
	id, ok := seal.KeyID(sealed)
	require.True(t, ok)
	require.Equal(t, "2026", id)
	for _, text := range []string{"", token, "v1.2026", "v2.2026.AA", "v1..AA", "v1.a b.AA", sealed + ".AA"} {
		_, ok := seal.KeyID(text)
		require.False(t, ok, text)
	}
}

func TestSealedTextsOfVersion1OpenForEver(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/v1.json")
	require.NoError(t, err)
	var golden struct{ Keys, Purpose, Sealed, Plain string }
	require.NoError(t, json.Unmarshal(raw, &golden))
	opened, err := newRing(t, golden.Keys).Open(golden.Purpose, golden.Sealed)
	require.NoError(t, err)
	require.Equal(t, golden.Plain, opened.Reveal())
	require.Equal(t, seal.PurposeBotToken, golden.Purpose)
}

func TestWhatWasChangedDoesNotOpen(t *testing.T) {
	t.Parallel()
	ring := newRing(t, newKey(t, "k1"))
	sealed, err := ring.Seal("p", []byte(token))
	require.NoError(t, err)
	body := strings.TrimPrefix(sealed, "v1.k1.")

	broken := map[string]string{
		"empty": "", "the token itself": token, "no body": "v1.k1.", "another version": "v2.k1." + body,
		"an unknown key": "v1.k2." + body, "four parts": sealed + ".x", "no base64": "v1.k1.*" + body, "cut": sealed[:len(sealed)-4],
		"short": "v1.k1.AAAA", "another key of that id": mustSeal(t, newRing(t, newKey(t, "k1"))),
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	require.NoError(t, err)
	for i := range raw {
		raw[i] ^= 1
		broken[fmt.Sprintf("byte %d", i)] = "v1.k1." + base64.RawURLEncoding.EncodeToString(raw)
		raw[i] ^= 1
	}
	for what, text := range broken {
		_, err := ring.Open("p", text)
		require.Error(t, err, what)
		require.Equal(t, fault.Permanent, fault.ClassOf(err), what)
		require.NotContains(t, err.Error(), token, what)
		require.NotContains(t, err.Error(), body[:8], what)
	}
}

func mustSeal(t *testing.T, ring *seal.Ring) string {
	t.Helper()
	sealed, err := ring.Seal("p", []byte(token))
	require.NoError(t, err)
	return sealed
}

func TestRingSaysAllThatIsWrongAndShowsNoKey(t *testing.T) {
	t.Parallel()
	good := newKey(t, "good")
	encoded := strings.TrimPrefix(good, "good:")
	_, err := seal.ParseRing(seal.Secret(strings.Join([]string{
		encoded, "a b:" + encoded, good, good, "rest:*" + encoded[1:], "short:" + encoded[:40], "",
	}, ", ")))
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	const want = ": want ID:BASE64, with an ID of up to 32 letters, digits, - and _ and the BASE64 of 32 bytes"
	require.Equal(t, []string{
		"key 1 has no right id" + want,
		"key 2 has no right id" + want,
		"key id good stands there twice: want an id of its own for each key",
		"key rest is no base64" + want,
		"key short is 30 bytes long" + want,
		"key 7 has no right id" + want,
	}, lines)
	require.NotContains(t, err.Error(), encoded[1:9])

	_, err = seal.ParseRing("")
	require.Error(t, err)
}

func TestKeysAreTakenFromOtherTools(t *testing.T) {
	t.Parallel()
	key := newKey(t, "k1")
	ring := newRing(t, " "+strings.TrimRight(key, "=")+" ", newKey(t, "k2"))
	sealed, err := ring.Seal("p", []byte(token))
	require.NoError(t, err)
	opened, err := newRing(t, key).Open("p", sealed)
	require.NoError(t, err, "spaces around and padding after a key mean nothing")
	require.Equal(t, token, opened.Reveal())
}

func TestGeneratedKeysDifferAndBadIDsAreRefused(t *testing.T) {
	t.Parallel()
	key, err := seal.Generate("k1")
	require.NoError(t, err)
	require.Regexp(t, `^k1:[A-Za-z0-9+/]{43}=$`, key.Private().Reveal())
	require.Regexp(t, `^k1:[A-Za-z0-9+/]{43}=$`, key.Public())
	require.NotEqual(t, key.Private().Reveal(), key.Public())
	require.NotEqual(t, newKey(t, "k1"), newKey(t, "k1"))
	for _, id := range []string{"", "a.b", "a:b", "a,b", "ключ", strings.Repeat("a", 33)} {
		_, err := seal.Generate(id)
		require.ErrorContains(t, err, "want up to 32 letters", id)
	}
}

func TestRingsAndKeysPrintSealed(t *testing.T) {
	t.Parallel()
	key, err := seal.Generate("k1")
	require.NoError(t, err)
	ring := newRing(t, key.Private().Reveal())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		require.Equal(t, "[sealed]", fmt.Sprintf(verb, key))
		require.Equal(t, "[sealed]", fmt.Sprintf(verb, ring))
		require.Equal(t, "[sealed]", fmt.Sprintf(verb, *ring))
	}
	written, err := json.Marshal([]any{key, ring})
	require.NoError(t, err)
	require.JSONEq(t, `["[sealed]","[sealed]"]`, string(written))
}

func TestKeysOfADayHaveIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	morning := time.Date(2026, 3, 7, 8, 30, 0, 0, time.UTC)
	early, err := seal.Generate(seal.NewID(morning))
	require.NoError(t, err)
	late, err := seal.Generate(seal.NewID(morning.Add(time.Second)))
	require.NoError(t, err)
	_, err = seal.ParseRing(early.Private() + "," + late.Private())
	require.NoError(t, err)
}
