package queue

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// startRedis returns a client of a Redis of its own.
func startRedis(t *testing.T) redis.UniversalClient {
	t.Helper()
	server := localtest.Redis(t, localservers.RedisOptions{})
	options, err := parseAddress(seal.Secret(server.URL()))
	require.NoError(t, err)
	client := redis.NewUniversalClient(&options.UniversalOptions)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func TestMessagesAreReadAsAsynqReadsThem(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	info, err := asynq.NewClientFromRedisClient(client).Enqueue(asynq.NewTask("text", []byte("\xff payload")), asynq.Queue("ingest-0"))
	require.NoError(t, err)
	task := taskName{"ingest-0", info.ID}
	key := taskKey("ingest-0", "t:"+info.ID)
	sound, err := client.HGet(t.Context(), key, "msg").Bytes()
	require.NoError(t, err)

	inspector := asynq.NewInspectorFromRedisClient(client)
	for name, message := range map[string][]byte{
		"as it was put":          sound,
		"retried":                append(bytes.Clone(sound), withRetried(7)...),
		"retried twice over":     append(append(bytes.Clone(sound), withRetried(7)...), withRetried(300)...),
		"fields of later on":     append(bytes.Clone(sound), 0xf8, 0x01, 0x05, 0xfd, 0x01, 1, 2, 3, 4, 0xf9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8),
		"a field of other shape": append(bytes.Clone(sound), fieldRetried<<3|wireBytes, 1, 'x'),
		"cut short":              sound[:len(sound)-1],
		"half":                   sound[:len(sound)/2],
		"text that is no text":   append(bytes.Clone(sound), 7<<3|wireBytes, 1, 0xff),
		"no field":               append(bytes.Clone(sound), 0x00, 0x01),
		"no end":                 append(bytes.Clone(sound), 0xff),
		"too large a number":     append(bytes.Clone(sound), bytes.Repeat([]byte{0xff}, 11)...),
		"text":                   []byte("what somebody wrote"),
	} {
		require.NoError(t, client.HSet(t.Context(), key, "msg", message).Err())
		known, asynqErr := inspector.GetTaskInfo("ingest-0", info.ID)
		retried, err := retriedOf(task, message)
		require.Equal(t, asynqErr == nil, err == nil, "%s: asynq says %v, we say %v", name, asynqErr, err)
		if err != nil {
			require.NotContains(t, err.Error(), "somebody")
			continue
		}
		require.Equal(t, known.Retried, retried, name)
	}
}

func TestMessageOfAnotherTaskIsNoMessage(t *testing.T) {
	t.Parallel()
	message := []byte{fieldID<<3 | wireBytes, 1, 'a', fieldQueue<<3 | wireBytes, 1, 'q'}
	_, err := retriedOf(taskName{queue: "q", id: "a"}, message)
	require.NoError(t, err)
	for _, other := range []taskName{{queue: "q", id: "b"}, {queue: "r", id: "a"}} {
		_, err := retriedOf(other, message)
		require.ErrorIs(t, err, errForeign)
	}
	_, err = retriedOf(taskName{queue: "q", id: "a"}, nil)
	require.ErrorIs(t, err, errForeign, "asynq decodes nothing as an empty message")
}

// said is all that an error of retriedOf may say.
var said = regexp.MustCompile(`^(it names another task|it is cut short|field \d+ is not UTF-8|no field has the number \d+|wire type \d)$`)

func FuzzRetriedOf(f *testing.F) {
	fixtures, err := filepath.Glob("../normalise/botapi/testdata/*/*.json")
	require.NoError(f, err)
	require.NotEmpty(f, fixtures)
	for _, fixture := range fixtures {
		body, err := os.ReadFile(fixture)
		require.NoError(f, err)
		payload := append(binary.AppendUvarint([]byte("\x0a\x06ingest\x12"), uint64(len(body))), body...)
		f.Add(append(payload, "\x1a\x01a\x22\x01q"...), 3)
	}
	for _, hostile := range []string{"\x0a\x09private\xff\xfe", "\x0fprivate", "\x00private", "\x0a\x7fprivate"} {
		f.Add([]byte(hostile), 1)
	}
	f.Add([]byte("\x0a\x04text\x1a\x01a\x22\x01q"), 3)
	f.Add([]byte("\x30\xff\xff\xff\xff\x0f"), 0)
	f.Fuzz(func(t *testing.T, message []byte, n int) {
		task := taskName{queue: "q", id: "a"}
		if _, err := retriedOf(task, message); err != nil {
			require.Regexp(t, said, err.Error())
			return
		}
		n = max(0, min(n, 1<<31-1))
		retried, err := retriedOf(task, append(bytes.Clone(message), withRetried(n)...))
		require.NoError(t, err)
		require.Equal(t, n, retried, "%x", message)
	})
}
